package mcad.engine.index;

import java.nio.ByteBuffer;

/**
 * The search kernels in C (mcad_mobile/engine/native), shared with Python. They check their arguments:
 * IllegalArgumentException names a wrong one, OutOfMemoryError means that memory ran out. Buffers are direct; bits are
 * least significant first.
 */
final class Kernel {
    private Kernel() {}

    /** Open a segment's file: its descriptor, -1 if it cannot be opened, -2 if its header has another CRC-32. */
    static native int open(byte[] path, int headerCrc);

    static native void close(int descriptor);

    /** Ask the system to read all {@code spans} of a file ahead: from, until, from, until, ... */
    static native void fetch(int descriptor, long[] spans);

    /** Make page faults in a map read single pages, without read-ahead. */
    static native void readAlone(ByteBuffer map);

    /** The rotated embedding (docs/index-format.md). */
    static float[] rotated(float[] vector) {
        float[] rotated = vector.clone();
        rotate(rotated, false);
        return rotated;
    }

    /** The embedding that {@link #rotated} rotated. */
    static float[] unrotated(float[] rotated) {
        float[] vector = rotated.clone();
        rotate(vector, true);
        return vector;
    }

    /** Rotate in place, or undo the rotation if {@code back}. */
    static native void rotate(float[] vector, boolean back);

    /**
     * Pass 1: the places of a segment with the least weighted distance from a query.
     *
     * @param columns words [W][photos]; bit i of word w is dimension 64 w + i
     * @param query [3][W]: its signs, the bits that count 1 where they differ, those that count 2
     * @param spans of places, ascending: from, until, from, until, ...
     * @param allowed one bit per place; null: all
     * @param prescanWords if above 0, this many words first narrow the places to {@code prescanned}
     * @return at most {@code wanted} places, ascending, then their distances; the first places win ties
     */
    static native int[] nearest(ByteBuffer columns, int photos, long[] query, int[] spans, ByteBuffer allowed,
        int prescanWords, int prescanned, int wanted);

    /**
     * How many cells in order hold {@code enough} passing photos, or all of them; -1 if a place names no row.
     *
     * @param rows the row of each place [photos], read only with {@code rowBits}
     * @param starts [cells + 1]: the first place of each cell
     * @param rowBits one bit per row, set if it passes; null: all pass
     * @param placeBits one bit per place, set here if it passes, in the probed cells
     * @param counts [cells]: passing photos; negative while unknown
     */
    static native int probe(ByteBuffer rows, int photos, int[] starts, ByteBuffer rowBits, ByteBuffer placeBits,
        int[] counts, int[] order, int enough);

    /**
     * Pass 2: cosines from the records of candidates, while one may still be among the {@code k} best.
     *
     * @param columns of each segment
     * @param shapes five per segment: descriptor, offset of its records, photos, words W, candidates always scored
     * @param factors three per segment: cosine per projection step, cosine per distance step, results that may be
     *     missed
     * @param residuals of the query, [D] per segment
     * @param places the candidates, ascending
     * @param distances of the candidates; null if all are scored
     * @param cosines out: of all candidates of all segments; NaN if not computed
     * @return 0, or s + 1 if a record of segment s could not be read
     */
    static native int rescore(ByteBuffer[] columns, long[] shapes, double[] factors, double[][] residuals,
        int[][] places, int[][] distances, int k, float[] cosines);
}
