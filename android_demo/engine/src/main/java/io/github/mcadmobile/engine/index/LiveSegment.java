package io.github.mcadmobile.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;

/**
 * A segment as of one commit. {@code deleted}: tombstones, ascending row numbers. {@code candidates}: how many photos a
 * search scores; {@code prescan}, if not null, how many it looks at before; {@code cells}, if not null, how many the
 * probed cells hold; {@code words}, if not null, its photos' words.
 */
record LiveSegment(Segment segment, int[] deleted, CandidateCount candidates, Prescan prescan, CandidateCount cells,
        WordsFile words) implements Closeable {
    int live() {
        return segment.photos - deleted.length;
    }

    boolean isDeleted(int row) {
        return deleted.length > 0 && Arrays.binarySearch(deleted, row) >= 0;
    }

    /** Read and check its files. McadException names the damaged one. */
    void verify() throws IOException {
        segment.verify();
        if (words != null) {
            words.verify();
        }
    }

    @Override
    public void close() throws IOException {
        segment.close();
        if (words != null) {
            words.close();
        }
    }
}
