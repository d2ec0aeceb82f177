package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.util.Arrays;

/**
 * Iterates over all live photos and videos of a commit by the path of their first row, with their stamps. Holds some
 * paths in memory, however many photos there are. Valid while its commit is open.
 */
public final class Membership {
    private static final int AT_ONCE = 256;

    private final Commit commit;
    private byte[][] paths = new byte[0][];
    private final int[] stamps = new int[2 * AT_ONCE];
    private byte[] path = {};
    private int at = -1;

    Membership(Commit commit) {
        this.commit = commit;
    }

    /** Advance to the next file; false after the last. */
    public boolean next() throws IOException {
        do {
            at++;
            if (at >= paths.length) {
                long[] rows = new long[AT_ONCE];
                paths = commit.call((index, error) -> IndexCore.list(index, path, rows, error));
                long[] listed = Arrays.copyOf(rows, paths.length);
                commit.call((index, error) -> IndexCore.photos(index, listed, stamps, null, null, error));
                at = 0;
            }
            if (paths.length == 0) {
                return false;
            }
            path = paths[at];
        } while (Moments.ms(PathBytes.toString(path)) > 0);
        return true;
    }

    public String path() {
        return Moments.file(PathBytes.toString(path));
    }

    /** Identifies the state of the file that was embedded: see docs/index-format.md. */
    public int stamp() {
        return stamps[2 * at];
    }

    /** The CRC-32 of the file's bytes. */
    public int contentStamp() {
        return stamps[2 * at + 1];
    }

    /** Negative if this file's first row sorts before {@code row}, 0 if they are equal. */
    public int compareTo(String row) throws IOException {
        return PathBytes.compare(path, PathBytes.of(row));
    }

    /** Compare paths in this order: by their bytes. */
    public static int order(String a, String b) {
        return PathBytes.compare(a, b);
    }
}
