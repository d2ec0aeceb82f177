package mcad.engine.index;

import java.util.Arrays;

/** A segment as of one commit: {@code deleted} are its tombstones, ascending row numbers. */
record LiveSegment(Segment segment, int[] deleted) {
    int live() {
        return segment.photos - deleted.length;
    }

    boolean isDeleted(int row) {
        return deleted.length > 0 && Arrays.binarySearch(deleted, row) >= 0;
    }
}
