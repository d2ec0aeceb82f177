package mcad.engine.index;

import java.util.Arrays;

/**
 * A segment as of one commit: {@code deleted} are its tombstones, ascending row numbers; {@code candidates} says how
 * many of its photos a search scores, {@code prescan}, or null, how many it looks at before, {@code cells}, or null,
 * how many there are in the cells that it looks into.
 */
record LiveSegment(Segment segment, int[] deleted, CandidateCount candidates, Prescan prescan, CandidateCount cells) {
    int live() {
        return segment.photos - deleted.length;
    }

    boolean isDeleted(int row) {
        return deleted.length > 0 && Arrays.binarySearch(deleted, row) >= 0;
    }
}
