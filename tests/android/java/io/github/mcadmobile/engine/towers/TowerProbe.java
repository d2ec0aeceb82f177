package io.github.mcadmobile.engine.towers;

import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.File;
import java.io.IOException;

/** Gives the probe access to the package-private part of {@link Tower}. */
public final class TowerProbe {
    private TowerProbe() {}

    /** What QNN is told by a ladder that is or is not for bulk. */
    public static Object qnn(JsonFields request) throws IOException {
        return new OnnxTower.Qnn(new File("libQnnHtp.so"), null, request.flag("bulk")).settings();
    }

    public static boolean saturates() {
        return Saturation.saturates();
    }

    /** The options of a provider's session. */
    public static Object options(JsonFields request) throws IOException {
        Tower.Provider provider = Tower.Provider.valueOf(request.string("provider"));
        try (OrtSession.SessionOptions options = OnnxTower.options(provider, 4, null)) {
            return options.getConfigEntries();
        } catch (OrtException error) {
            throw new IOException(error);
        }
    }
}
