package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.jspecify.annotations.Nullable;

/** The directory's writer lock, released when its process ends. */
final class WriterLock implements Closeable {
    private static final String NAME = "lock";

    /** The locks of this process. Closing another channel of a locked file would release its lock on Linux. */
    private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();

    private final Path file;
    private final FileChannel channel;

    /** McadException if another writer, in this process or another, holds it. */
    WriterLock(Path directory) throws IOException {
        file = directory.toRealPath().resolve(NAME);
        if (!HELD.add(file)) {
            throw held(directory);
        }
        FileChannel opened = null;
        try {
            opened = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
            if (opened.tryLock() == null) {
                throw held(directory);
            }
        } catch (IOException | RuntimeException error) {
            release(opened);
            throw error;
        }
        channel = opened;
    }

    private static McadException held(Path directory) {
        return new McadException("Another writer is at work on the index " + directory + ".",
            "Wait until it is done. Searching is possible meanwhile.");
    }

    @Override
    public void close() throws IOException {
        release(channel);
    }

    /** The file is closed first, or that would release the lock of a writer that comes between. */
    private void release(@Nullable FileChannel opened) throws IOException {
        try {
            if (opened != null) {
                opened.close();
            }
        } finally {
            HELD.remove(file);
        }
    }
}
