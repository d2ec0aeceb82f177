package mcad.engine.base;

import java.io.IOException;
import java.nio.file.Paths;

/** Gives the probe access to the package-private part of {@link Memory}. */
public final class MemoryProbe {
    private MemoryProbe() {}

    /** The memory of this process, and the memory that a file in the kernel's format states. */
    public static Object memory(JsonFields request) throws IOException {
        Memory now = Memory.now();
        Memory read = Memory.read(Paths.get(request.string("file")));
        return Json.object("now", now.pss(), "pss", read.pss(), "rss", read.rss());
    }
}
