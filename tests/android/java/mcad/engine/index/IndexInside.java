package mcad.engine.index;

import java.io.IOException;

/** Lets the probe in at what the index keeps to itself. */
public final class IndexInside {
    private IndexInside() {}

    /** From so many photos on an index has cells, whatever they save. */
    public static void cellsFrom(PhotoIndex index, int photos) {
        index.cellRule(new CellRule(photos, Double.POSITIVE_INFINITY));
    }

    /** How many photos the scan of a query looks at. */
    public static int looked(PhotoIndex index, float[] query, int k) throws IOException {
        PhotoIndex.Commit commit = PhotoIndex.load(index.directory);
        int looked = 0;
        for (LiveSegment live : commit.segments()) {
            int[] ranges = TwoPass.ranges(live, Findable.live(live), new Rotation(index.dim()).rotate(query), k);
            for (int i = 0; i < ranges.length; i += 2) {
                looked += ranges[i + 1] - ranges[i];
            }
        }
        PhotoIndex.closeAll(commit.segments());
        return looked;
    }
}
