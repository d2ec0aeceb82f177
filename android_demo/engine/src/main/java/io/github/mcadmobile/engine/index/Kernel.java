package io.github.mcadmobile.engine.index;

import java.nio.ByteBuffer;

/**
 * The C code of the index (mcad_mobile/engine/native), shared with Python: it decides how an index is tuned and
 * searched, and computes the numbers of photos. Functions check their arguments:
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

    /** Scale an embedding to length 1 and rotate it, in place; the length that it had. */
    static native float prepare(float[] vector);

    /** Encode rotated embeddings around an axis as whole {@link Records}; {@code feedback} [D][D] floats, or null. */
    static native void encode(float[] rows, float[] axis, ByteBuffer feedback, byte[] records);

    /** The rotated embeddings that whole records stand for. */
    static native void decode(byte[] records, float[] axis, float[] rows);

    /** Split a rotated query by an axis: writes its residual, returns its cosine per step of a projection. */
    static native double split(float[] query, float[] axis, double[] residual);

    /** Add rotated embeddings to {@code total} [D], from which {@link #axis} computes the direction of their mean. */
    static native void addUp(float[] rows, double[] total);

    static native void axis(double[] total, float[] axis);

    /** Add rotated embeddings to a covariance [D][D] of doubles, from which {@link #feedback} follows. */
    static native void addCovariance(float[] rows, float[] axis, ByteBuffer covariance);

    /** Overwrites the covariance; {@code shares} [D][D] floats. False if rounding by them is not worthwhile. */
    static native boolean feedback(ByteBuffer covariance, int dim, ByteBuffer shares);

    /** The sample for feedback is one photo in so many; 0 if it is not worthwhile. */
    static native int feedbackStep(int photos, int dim);

    /** The sample for tuning is one photo in so many. */
    static native int sampleStep(int photos, int dim);

    /** Write rotated embeddings to a sample [count][D] of shorts, from row {@code at} on. */
    static native void shrink(float[] rows, int dim, ByteBuffer sample, int at);

    /** See {@link Tuning#choose}. */
    static native void tune(ByteBuffer sample, int count, float[] axis, int photos, int cellsFrom, boolean atAnyCost,
        ByteBuffer bitWeights, ByteBuffer centroids, double[] counts);

    /** The fewest photos of a segment with cells. */
    static native int cellsFrom();

    /** See {@link CandidateCount}. */
    static native int count(double factor, double exponent, double growth, int photos, int k, boolean inCells);

    /**
     * Set to 1 which segments, of {@code live} and {@code deleted} rows each, a commit merges with its new photos; true
     * if the axis is computed anew. {@code axisPhotos}: how many photos the axis is from.
     */
    static native boolean planMerge(long[] live, long[] deleted, long added, long axisPhotos, byte[] merged);

    /** The cells of rotated embeddings. */
    static native void assignCells(float[] rows, float[] axis, ByteBuffer centroids, int cells, int[] ofRows);

    /** All cells, in the order in which a rotated query probes them. */
    static native void orderCells(float[] query, ByteBuffer centroids, int[] order);

    /** Quantize a rotated query to {@code words} for {@link #nearest}; half of the cosine per unit of distance. */
    static native double quantize(ByteBuffer bitWeights, float[] query, long[] words);

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

    /** What the texts of a mapped file of words are coded by, to be closed; 0 if the file is damaged. */
    static native long openWords(ByteBuffer map);

    static native void closeWords(long model);

    /** What is known of the photos of rows, as mcad_words_records writes it; null if the file is damaged. */
    static native byte[] words(ByteBuffer map, long model, int[] rows);

    /**
     * Mark in a group of {@code marks} [groups][photos] how photos match each of at most four {@link WordsFile#queries},
     * in two bits for each, and count them; false if the file is damaged.
     */
    static native boolean findWords(ByteBuffer map, byte[] queries, byte[] marks, int group, int[] counts);

    /** Whether a word matches one of some {@link WordsFile#queries}. */
    static native boolean isLike(byte[] queries, byte[] word);

    /**
     * Write to {@code rows} and {@code found} the rows of the {@code k} largest worths, ascending, and as many as fit that
     * tie with the least of these, and what they are worth; how many.
     *
     * @param marks [groups][photos] from {@link #findWords}
     * @param worths [groups][256]: what marks are worth, the first 0, the last the most
     * @param allowed one bit per row; null: all
     */
    static native int rankWords(byte[] marks, float[] worths, ByteBuffer allowed, int k, int[] rows, float[] found);

    /**
     * A file of the words of {@code photos} photos, without its checksum: records of {@code rows}, and photos of older
     * files, each with its new row or -1. Null if the file {@code damaged[0]} is damaged.
     */
    static native byte[] buildWords(ByteBuffer[] maps, int[][] newRows, byte[] records, int[] rows, int photos,
        int segmentCrc, int[] damaged);

    /**
     * Pass 2: cosines from the records of candidates, while one may still be among the {@code k} best.
     *
     * @param columns of each segment
     * @param shapes four per segment: descriptor, offset of its records, photos, words W
     * @param factors two per segment: cosine per projection step, half of the cosine per unit of distance
     * @param residuals of the query, [D] per segment
     * @param places the candidates, ascending
     * @param distances of the candidates; null if all are scored
     * @param cosines out: of all candidates of all segments; NaN if not computed
     * @return 0, or s + 1 if a record of segment s could not be read
     */
    static native int rescore(ByteBuffer[] columns, long[] shapes, double[] factors, double[][] residuals,
        int[][] places, int[][] distances, int k, float[] cosines);
}
