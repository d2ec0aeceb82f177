package mcad.engine.base;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** What must outlive a phone that is switched off: until then, what was written may lie in memory alone. */
public final class Fsync {
    private Fsync() {}

    /** Flush the bytes of a file. */
    public static void file(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.force(true);
        }
    }

    /** Flush the names in a directory: without it a rename may be undone. */
    public static void directory(Path directory) throws IOException {
        FileChannel channel;
        try {
            channel = FileChannel.open(directory, StandardOpenOption.READ);
        } catch (IOException cannotBeOpened) {
            return; // Linux opens directories to read; where a system does not, there is nothing to flush by.
        }
        try (channel) {
            channel.force(true);
        }
    }
}
