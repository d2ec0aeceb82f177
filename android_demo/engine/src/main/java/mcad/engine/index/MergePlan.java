package mcad.engine.index;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Which segments a commit merges into its new one. All, with a new axis, if the index grew eightfold since its axis was
 * computed; else those with too many deleted rows, and each segment at most twice as large as those merged before it,
 * so that segment sizes at least double.
 */
record MergePlan(boolean[] merged, boolean newAxis) {
    private static final int AXIS_FROM = 256;
    private static final int AXIS_GROWTH = 8;
    private static final double MOST_DELETED = 1 / 8.0;

    /** {@code live} and {@code deleted} rows of each segment; {@code axisPhotos}: how many photos the axis is from. */
    static MergePlan of(int[] live, int[] deleted, int added, long axisPhotos) {
        boolean[] merged = new boolean[live.length];
        long total = added;
        for (int rows : live) {
            total += rows;
        }
        if (total >= AXIS_FROM && total >= AXIS_GROWTH * axisPhotos) {
            Arrays.fill(merged, true);
            return new MergePlan(merged, true);
        }
        long size = added;
        List<Integer> bySize = new ArrayList<>();
        for (int i = 0; i < live.length; i++) {
            bySize.add(i);
            if (deleted[i] > MOST_DELETED * (live[i] + deleted[i])) {
                merged[i] = true;
                size += live[i];
            }
        }
        bySize.sort((a, b) -> Integer.compare(live[a], live[b]));
        for (int i : bySize) {
            if (!merged[i] && live[i] <= 2 * size) {
                merged[i] = true;
                size += live[i];
            }
        }
        return new MergePlan(merged, false);
    }
}
