package mcad.engine;

import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.IOException;
import java.nio.file.Paths;

/** Lets the probe in at what the engine keeps to itself. */
public final class InsideProbe {
    private InsideProbe() {}

    /** What {@link Memory#now} makes of this process, and what a file in the kernel's format says. */
    public static Object memory(JsonFields request) throws IOException {
        Memory now = Memory.now();
        Memory told = Memory.read(Paths.get(request.string("file")));
        return Json.object("now", now.pss(), "pss", told.pss(), "rss", told.rss());
    }

    /** What a session of a provider is made with. */
    public static Object options(JsonFields request) throws IOException {
        Tower.Provider provider = Tower.Provider.valueOf(request.string("provider"));
        try (OrtSession.SessionOptions options = Tower.options(provider, 4, null)) {
            return options.getConfigEntries();
        } catch (OrtException error) {
            throw new IOException(error);
        }
    }
}
