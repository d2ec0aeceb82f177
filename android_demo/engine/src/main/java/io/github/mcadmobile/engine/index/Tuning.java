package io.github.mcadmobile.engine.index;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * How a segment is searched (docs/index-format.md); the kernels choose it.
 *
 * @param bitWeights [scanned][D] floats, row-major
 * @param scanned the bits in columns
 * @param candidates how many photos a scan passes on
 * @param prescan an earlier scan of fewer bits, or null
 * @param centroids [cells][D] shorts
 * @param cells their number, 0 without cells
 * @param cellCandidates how many photos the scanned cells must hold; null without cells
 */
record Tuning(ByteBuffer bitWeights, int scanned, CandidateCount candidates, Prescan prescan, ByteBuffer centroids,
        int cells, CandidateCount cellCandidates) {
    private static final int MOST_SCANNED = 1024;
    private static final int MOST_CELLS = 256;

    /** For an index whose photos are all scored. */
    static Tuning none() {
        return new Tuning(bytes(0), 0, new CandidateCount(1, 1, 1), null, bytes(0), 0, null);
    }

    static Tuning of(LiveSegment live) {
        Segment segment = live.segment();
        return new Tuning(segment.bitWeights, segment.scanned, live.candidates(), live.prescan(), segment.centroids,
            segment.places.cells(), live.cells());
    }

    /**
     * The cheapest tuning for an index of {@code photos} photos.
     *
     * @param sample {@code count} rotated embeddings, see {@link Kernel#shrink}
     * @param cellsFrom the fewest photos of an index with cells; {@code atAnyCost}: even if they make no search cheaper
     */
    static Tuning choose(ByteBuffer sample, int count, float[] axis, int photos, int cellsFrom, boolean atAnyCost) {
        int dim = axis.length;
        ByteBuffer bitWeights = bytes(4 * Math.min(dim, MOST_SCANNED) * dim);
        ByteBuffer centroids = bytes(2 * MOST_CELLS * dim);
        double[] found = new double[12];
        Kernel.tune(sample, count, axis, photos, cellsFrom, atAnyCost, bitWeights, centroids, found);
        int scanned = (int) found[0];
        int cells = (int) found[2];
        bitWeights.limit(4 * scanned * dim);
        centroids.limit(2 * cells * dim);
        return new Tuning(bitWeights, scanned, count(found, 3),
            found[1] == 0 ? null : new Prescan((int) found[1], count(found, 6)), centroids, cells,
            cells == 0 ? null : count(found, 9));
    }

    private static CandidateCount count(double[] found, int at) {
        return new CandidateCount(found[at], found[at + 1], found[at + 2]);
    }

    static ByteBuffer bytes(int count) {
        return ByteBuffer.allocateDirect(count).order(ByteOrder.LITTLE_ENDIAN);
    }

    Tuning withoutCells() {
        return new Tuning(bitWeights, scanned, candidates, prescan, bytes(0), 0, null);
    }
}
