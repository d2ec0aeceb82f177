package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.nio.file.Paths;

/** Gives the probe access to the package-private parts of this package. */
public final class BaseProbe {
    private BaseProbe() {}

    /** A document, read and to be written again. */
    public static Object json(JsonFields request) throws McadException {
        return JsonFields.parse(request.string("text"), "The text", "").document();
    }

    /** The memory of this process, and the memory that a file in the kernel's format states. */
    public static Object memory(JsonFields request) throws IOException {
        Memory now = Memory.now();
        Memory read = Memory.read(Paths.get(request.string("file")));
        return JsonFields.of("now", now.pss(), "pss", read.pss(), "rss", read.rss());
    }
}
