package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Replaces small files whole: after a crash, a file has its old content or its new one. */
public final class AtomicFile {
    /** What the name of an unfinished file ends with. */
    public static final String UNFINISHED = ".tmp";

    /** Writes a file's content. */
    public interface Content {
        void to(OutputStream out) throws IOException;
    }

    private AtomicFile() {}

    /** Replace {@code file}. McadException of kind STORAGE if it cannot be written. */
    public static void write(Path file, byte[] content) throws McadException {
        write(file, out -> out.write(content));
    }

    /** As above, for content that is better not held in memory. */
    public static void write(Path file, Content content) throws McadException {
        Path partial = file.resolveSibling(file.getFileName() + UNFINISHED);
        try {
            try (OutputStream out = Files.newOutputStream(partial)) {
                content.to(out);
            }
            Fsync.file(partial); // the content must reach the disk before the name
            Files.move(partial, file, StandardCopyOption.ATOMIC_MOVE);
            Fsync.directory(file.getParent());
        } catch (IOException error) {
            throw notWritten(file, error);
        }
    }

    /** The error of a file that could not be written. */
    public static McadException notWritten(Path file, IOException error) {
        return new McadException(McadException.Kind.STORAGE, file + " could not be written: " + error + ".",
            "Free some storage and try again.", error);
    }
}
