package io.github.mcadmobile.engine.index;

import java.util.Arrays;

/**
 * A segment as of one commit. {@code deleted}: tombstones, ascending row numbers. {@code candidates}: how many photos a
 * search scores; {@code prescan}, if not null, how many it looks at before; {@code cells}, if not null, how many the
 * probed cells hold.
 */
record LiveSegment(Segment segment, int[] deleted, CandidateCount candidates, Prescan prescan, CandidateCount cells) {
    int live() {
        return segment.photos - deleted.length;
    }

    boolean isDeleted(int row) {
        return deleted.length > 0 && Arrays.binarySearch(deleted, row) >= 0;
    }
}
