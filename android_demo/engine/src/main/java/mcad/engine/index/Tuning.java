package mcad.engine.index;

/**
 * How a segment is searched (docs/index-format.md).
 *
 * @param bitWeights [S][D], row-major, S the bits in columns: see {@link BitWeights}
 * @param candidates how many photos a scan passes on, measured on a sample whose photos serve as queries, both
 *     unchanged and turned in a random direction
 * @param prescan an earlier scan of fewer bits, or null
 * @param cells the cells of the photos, or null
 * @param cellCandidates how many photos the scanned cells must hold; null without cells
 */
record Tuning(float[] bitWeights, CandidateCount candidates, Prescan prescan, Cells cells, CandidateCount cellCandidates) {
    /** For an index whose photos are all scored. */
    static Tuning none() {
        return new Tuning(new float[0], new CandidateCount(1, 1, 1), null, null, null);
    }

    static Tuning of(LiveSegment live) {
        return new Tuning(live.segment().bitWeights, live.candidates(), live.prescan(), live.segment().cells, live.cells());
    }

    Tuning withoutCells() {
        return new Tuning(bitWeights, candidates, prescan, null, null);
    }
}
