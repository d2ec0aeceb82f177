package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.McadException.Kind;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Locale;

/** Words the errors of the index in C, which come as numbers, and names the files that they are of. */
final class IndexErrors {
    private static final String REBUILD = Manifest.START_OVER + " If it was copied from a computer, repair it "
        + "there, and copy it again.";
    private static final String[] PARTS = {"axis", "bit_weights", "centroids", "starts", "rows", "columns", "records",
        "times", "stamps", "path_blocks", "paths"};
    // Where they are in an error.
    private static final int FILE = 1;
    private static final int VALUES = 2;
    private static final int NUMBER = 5;
    // Error numbers of Linux for a file that is gone, or not a regular one.
    private static final int ENOENT = 2;
    private static final int EINVAL = 22;
    private static final int ELOOP = 40;

    /**
     * The codes of mcad_index.h, in its order, and what is wrong with a damaged file: 1 to 3 are the error's values, 4
     * is its number, 5 the part that the first value names, 6 the text that it is.
     */
    private enum Code {
        DONE, NO_MEMORY, STOPPED, NOT_READ, NOT_WRITTEN, LENGTH, ORDER, NEWER,
        UNTUNED("it was tuned for %2$d photos, not for %1$d"),
        MAGIC("it starts with '%6$s', not with 'MCADSEG1'"),
        SHORT_HEADER("it ends at byte %1$d, inside its header"),
        HEADER_CRC("its header has another CRC-32 than it says"),
        SHAPE("its header says %1$d dimensions, %2$d parts, %3$d photos"),
        SCAN_BITS("its header says %1$d bits to scan of %2$d dimensions"),
        CELLS("its header says %1$d cells"),
        PART_LENGTH("its %5$s are %2$d bytes, not %3$d"),
        PART_PLACE("its %5$s are not where they should be, but at byte %2$d of %3$d"),
        FILE_SIZE("it has %1$d bytes, not %2$d"),
        CUT_OFF("it was cut off at byte %1$d while it was open"),
        OTHER_SEGMENT("it is not the segment that the manifest names"),
        PRESCAN("it does not have the %1$d bits that its prescan needs"),
        CELLS_DIFFER("it and the manifest differ over whether it has cells"),
        CELL_STARTS("its %1$d cells don't start one behind the other, from 0 to %2$d"),
        AXIS("its axis has length %4$s, not 1"),
        BIT_WEIGHT("it has a bit weight of %4$s"),
        PATH_BLOCK("block %1$d of its paths is at bytes %2$d to %3$d"),
        PATH("block %1$d of its paths has a path that can't be"),
        PATH_ORDER("its path of row %1$d is out of order"),
        PLACE("place %1$d of its cells names row %2$d, which it lacks"),
        PLACE_ORDER("its cells don't hold each photo once and in order: not at place %1$d"),
        NO_PLACE("its cells don't hold each photo once and in order: not row %1$d"),
        SCORE("its row %1$d has a cosine of %4$s"),
        GAP("there is something before its %5$s"),
        PART_CRC("the CRC-32 of its %5$s is %2$08x, not %3$08x"),
        WORDS_SEGMENT("it is not of its segment"),
        WORDS_SIZE("it has %1$d bytes, not %2$d"),
        WORDS_CRC("its checksum is another one"),
        WORDS_DICTIONARY("its dictionary cannot be read"),
        WORDS_TEXTS("the texts of a photo cannot be read");

        final String damage;

        Code(String... damage) {
            this.damage = String.join("", damage);
        }
    }

    /** Where C writes an error: its code, its file, three values, and the bits of a double. */
    final long[] values = new long[NUMBER + 1];
    private final Path directory;
    private final Manifest manifest;

    IndexErrors(Path directory, Manifest manifest) {
        this.directory = directory;
        this.manifest = manifest;
    }

    /** The result of a function; its error as an exception, if it failed. */
    <T> T checked(T result) throws IOException {
        if (values[0] != 0) {
            Code code = Code.values()[(int) values[0]];
            values[0] = 0;
            throw error(code);
        }
        return result;
    }

    private IOException error(Code code) {
        long first = values[VALUES];
        double number = Double.longBitsToDouble(values[NUMBER]);
        byte[] bytes = ByteBuffer.allocate(Long.BYTES).order(ByteOrder.LITTLE_ENDIAN).putLong(first).array();
        String text = new String(bytes, StandardCharsets.ISO_8859_1);
        switch (code) {
            case STOPPED:
                return new InterruptedIOException("The work on the index " + directory + " was stopped.");
            case NOT_READ:
                return notRead((int) first);
            case NOT_WRITTEN:
                return notWritten(directory, reason((int) first), null);
            case LENGTH:
                return new McadException("An embedding has length " + (float) number + ", not 1.",
                    "Give embeddings of unit length without NaN or infinity.");
            case ORDER:
                throw new IllegalArgumentException("Path " + first + " is empty, too long, or not in order.");
            case NEWER:
                return new McadException(Kind.INDEX, "The index file " + file() + " starts with '" + text
                    + "', of a newer version; this version reads 'MCADSEG1'.", Manifest.UPDATE, null);
            default:
                String part = PARTS[(int) Math.max(0, Math.min(first, PARTS.length - 1))];
                Object[] all = {first, values[VALUES + 1], values[VALUES + 2], number, part, text};
                return damaged(file(), String.format(Locale.ROOT, code.damage, all), null);
        }
    }

    /** NoSuchFileException if the file is gone, which a new commit may explain. */
    private IOException notRead(int errno) {
        Path file = file();
        return switch (errno) {
            case ENOENT -> new NoSuchFileException(file.toString());
            case ELOOP -> damaged(file, "it is a link", null);
            case EINVAL -> damaged(file, "it is not a regular file", null);
            default -> new McadException(Kind.INDEX, "The index file " + file + " could not be read: " + reason(errno)
                + ".", "Restart the phone, then search again.", null);
        };
    }

    /** The file that the error is of: each segment has two. The directory for a new one. */
    private Path file() {
        int entry = (int) values[FILE] / 2;
        if (entry >= manifest.segments().size()) {
            return directory;
        }
        Manifest.Entry named = manifest.segments().get(entry);
        return directory.resolve(values[FILE] % 2 == 0 ? named.file() : named.words());
    }

    private static String reason(int errno) {
        return new String(IndexCore.reason(errno), StandardCharsets.UTF_8);
    }

    static McadException damaged(Object file, String detail, IOException cause) {
        return new McadException(
            Kind.DAMAGED, "The index file " + file + " is damaged: " + detail + ".", REBUILD, cause);
    }

    static McadException notWritten(Path directory, String why, IOException cause) {
        return new McadException(Kind.STORAGE, "The index " + directory + " could not be written: " + why + ".",
            "Check free space; no photo that was indexed is lost.", cause);
    }

    /** The handle of what is open; McadException if it is closed. */
    long open(long handle) throws McadException {
        if (handle == 0) {
            throw new McadException(Kind.INDEX, "The index " + directory + " is closed.", "Open it again.", null);
        }
        return handle;
    }
}
