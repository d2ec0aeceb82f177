package mcad.engine;

import java.io.IOException;
import java.nio.file.Paths;

/** Lets the probe in at what the engine keeps to itself. */
public final class MemoryProbe {
    private MemoryProbe() {}

    /** What {@link Memory#now} makes of this process, and what a file in the kernel's format says. */
    public static Object memory(JsonFields request) throws IOException {
        Memory now = Memory.now();
        Memory told = Memory.read(Paths.get(request.string("file")));
        return Json.object("now", now.pss(), "pss", told.pss(), "rss", told.rss());
    }
}
