package mcad.engine.index;

import java.util.BitSet;
import java.util.List;
import java.util.function.IntPredicate;

/**
 * The photos of one commit among which a search is to look: {@link PhotoIndex#rows}. It ends with the commit that it was
 * made of.
 */
public final class Rows {
    private final List<LiveSegment> segments;
    private final BitSet[] passing;
    private final int[] counts;

    private Rows(List<LiveSegment> segments, BitSet[] passing) {
        this.segments = segments;
        this.passing = passing;
        counts = new int[passing.length];
        for (int s = 0; s < counts.length; s++) {
            counts[s] = passing[s].cardinality();
        }
    }

    /** Live rows whose number passes; {@code numbers}: of each segment, one for each row, -1 for none. */
    static Rows of(List<LiveSegment> segments, List<int[]> numbers, IntPredicate passes) {
        BitSet[] passing = new BitSet[segments.size()];
        for (int s = 0; s < passing.length; s++) {
            int[] ofRows = numbers.get(s);
            passing[s] = new BitSet(ofRows.length);
            for (int row = 0; row < ofRows.length; row++) {
                if (ofRows[row] >= 0 && passes.test(ofRows[row])) {
                    passing[s].set(row);
                }
            }
            for (int row : segments.get(s).deleted()) {
                passing[s].clear(row);
            }
        }
        return new Rows(segments, passing);
    }

    /** How many photos pass. */
    public int count() {
        int sum = 0;
        for (int count : counts) {
            sum += count;
        }
        return sum;
    }

    boolean isOf(List<LiveSegment> commit) {
        return segments == commit;
    }

    int count(int segment) {
        return counts[segment];
    }

    BitSet of(int segment) {
        return passing[segment];
    }
}
