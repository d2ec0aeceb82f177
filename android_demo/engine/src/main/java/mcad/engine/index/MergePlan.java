package mcad.engine.index;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * What a commit merges into its new segment. All segments, with a new axis, when the index has grown eightfold since
 * its axis was taken; else those with too many deleted rows, and every segment not over twice as large as what has
 * joined before it: sizes at least double from one segment to the next.
 */
record MergePlan(boolean[] absorbed, boolean newAxis) {
    private static final int AXIS_FROM = 256;
    private static final int AXIS_GROWTH = 8;
    private static final double MOST_DELETED = 1 / 8.0;

    /** {@code live} and {@code deleted} rows of each segment; {@code axisPhotos}: over how many the axis was taken. */
    static MergePlan of(int[] live, int[] deleted, int added, long axisPhotos) {
        boolean[] absorbed = new boolean[live.length];
        long total = added;
        for (int rows : live) {
            total += rows;
        }
        if (total >= AXIS_FROM && total >= AXIS_GROWTH * axisPhotos) {
            Arrays.fill(absorbed, true);
            return new MergePlan(absorbed, true);
        }
        long size = added;
        List<Integer> bySize = new ArrayList<>();
        for (int i = 0; i < live.length; i++) {
            bySize.add(i);
            if (deleted[i] > MOST_DELETED * (live[i] + deleted[i])) {
                absorbed[i] = true;
                size += live[i];
            }
        }
        bySize.sort((a, b) -> Integer.compare(live[a], live[b]));
        for (int i : bySize) {
            if (!absorbed[i] && live[i] <= 2 * size) {
                absorbed[i] = true;
                size += live[i];
            }
        }
        return new MergePlan(absorbed, false);
    }
}
