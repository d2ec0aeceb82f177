package mcad.engine.index;

import java.util.Arrays;

/**
 * A segment as of one commit: {@code deleted} are its tombstones, ascending row numbers; {@code reach} says how many of
 * its photos a search scores, {@code first}, or null, how many it looks at before.
 */
record LiveSegment(Segment segment, int[] deleted, Reach reach, First first) {
    int live() {
        return segment.photos - deleted.length;
    }

    /** The rows that are not deleted, ascending. */
    int[] liveRows() {
        int[] rows = new int[live()];
        int count = 0;
        for (int row = 0; row < segment.photos; row++) {
            if (!isDeleted(row)) {
                rows[count++] = row;
            }
        }
        return rows;
    }

    boolean isDeleted(int row) {
        return deleted.length > 0 && Arrays.binarySearch(deleted, row) >= 0;
    }
}
