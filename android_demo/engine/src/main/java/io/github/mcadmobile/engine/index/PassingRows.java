package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.util.BitSet;
import java.util.List;
import java.util.function.IntPredicate;

/**
 * The photos of one commit that a search is restricted to: see {@link PhotoIndex#rows}. Valid while that commit is
 * open.
 */
public final class PassingRows {
    private final List<LiveSegment> segments;
    private final FilteredPlaces[] passing;

    private PassingRows(List<LiveSegment> segments, FilteredPlaces[] passing) {
        this.segments = segments;
        this.passing = passing;
    }

    /**
     * Live rows whose number passes and whose place has all terms; {@code numbers}: per segment, one per row, -1 for none.
     */
    static PassingRows of(List<LiveSegment> segments, List<int[]> numbers, IntPredicate passes, List<String> place)
            throws IOException {
        FilteredPlaces[] passing = new FilteredPlaces[segments.size()];
        for (int s = 0; s < passing.length; s++) {
            int[] ofRows = numbers.get(s);
            BitSet rows = new BitSet(ofRows.length);
            for (int row = 0; row < ofRows.length; row++) {
                if (ofRows[row] >= 0 && passes.test(ofRows[row])) {
                    rows.set(row);
                }
            }
            for (int row : segments.get(s).deleted()) {
                rows.clear(row);
            }
            for (String term : place) {
                byte[] found = new byte[ofRows.length];
                if (segments.get(s).words() != null) {
                    segments.get(s).words().find(List.of(term), WordsFile.PLACE, found, 0);
                }
                for (int row = rows.nextSetBit(0); row >= 0; row = rows.nextSetBit(row + 1)) {
                    rows.set(row, found[row] != 0);
                }
            }
            passing[s] = FilteredPlaces.among(segments.get(s).segment(), rows);
        }
        return new PassingRows(segments, passing);
    }

    /** The number of passing photos. */
    public int count() {
        int sum = 0;
        for (FilteredPlaces of : passing) {
            sum += of.count();
        }
        return sum;
    }

    boolean isOf(List<LiveSegment> commit) {
        return segments == commit;
    }

    /** The passing places of each segment. */
    FilteredPlaces[] passing() {
        return passing;
    }
}
