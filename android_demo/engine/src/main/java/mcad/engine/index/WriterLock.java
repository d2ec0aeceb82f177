package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import mcad.engine.McadException;

/** The directory's writer lock, released when its process ends. */
final class WriterLock implements Closeable {
    private static final String NAME = "lock";

    private final FileChannel channel;

    /** McadException if another writer, in this process or another, holds it. */
    WriterLock(Path directory) throws IOException {
        channel = FileChannel.open(directory.resolve(NAME), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        FileLock lock;
        try {
            lock = channel.tryLock();
        } catch (OverlappingFileLockException ours) {
            lock = null;
        } catch (IOException error) {
            channel.close();
            throw error;
        }
        if (lock == null) {
            channel.close();
            throw new McadException("Another writer is at work on the index " + directory + ".",
                "Wait until it is done. Searching is possible meanwhile.");
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
