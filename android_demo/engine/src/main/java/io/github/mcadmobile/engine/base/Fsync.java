package io.github.mcadmobile.engine.base;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Flushes files and directories to disk, so that they survive the phone being switched off. */
public final class Fsync {
    private Fsync() {}

    /** Flush the bytes of a file. */
    public static void file(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            channel.force(true);
        }
    }

    /** Flush a directory's entries: without it, a rename may be lost. */
    public static void directory(Path directory) throws IOException {
        FileChannel channel;
        try {
            channel = FileChannel.open(directory, StandardOpenOption.READ);
        } catch (IOException cannotBeOpened) {
            return; // this system cannot open directories, so it cannot flush them
        }
        try (channel) {
            channel.force(true);
        }
    }
}
