package mcad.engine.index;

/**
 * How a segment is searched (docs/index-format.md).
 *
 * @param bitWeights [S][D] one row after the other, S the bits in columns: see {@link BitWeights}
 * @param candidates how many photos a scan of them passes on, measured on a sample of the photos, with photos as
 *     queries, as they are and once more turned in a random direction
 * @param prescan a scan of fewer bits before it, or null
 * @param cells in which the photos lie, or null
 * @param cellCandidates how many photos the cells hold that are scanned; null without cells
 */
record Tuning(float[] bitWeights, CandidateCount candidates, Prescan prescan, Cells cells, CandidateCount cellCandidates) {
    /** Of an index whose photos are all scored. */
    static Tuning none() {
        return new Tuning(new float[0], new CandidateCount(1, 1, 1), null, null, null);
    }

    /** That of a segment. */
    static Tuning of(LiveSegment live) {
        return new Tuning(live.segment().bitWeights, live.candidates(), live.prescan(), live.segment().cells, live.cells());
    }

    Tuning withoutCells() {
        return new Tuning(bitWeights, candidates, prescan, null, null);
    }
}
