package io.github.mcadmobile.engine.index;

import java.nio.ByteBuffer;

/**
 * The index in C, which Python calls too: mcad_mobile/engine/native/mcad_index.h says what each function does, and
 * jni.c opens files by their paths, in bytes. Handles (index, filter, writer) are pointers: a caller closes each once,
 * and uses none after that.
 *
 * <p>A row is {@code segment | row << 32}. {@code error} is {@link IndexErrors#values}, which is set if a function
 * fails. Wrong arguments are an IllegalArgumentException; OutOfMemoryError means that memory ran out. {@code stop} is a
 * direct buffer of an int that any thread may set to stop the work, or null.
 */
final class IndexCore {
    /** The row of a photo that the index lacks. */
    static final long NONE = -1;
    /** Numbers of a segment: the CRC-32 of its header, 1 if it has cells, its photos, and bits of the prescan. */
    static final int NUMBERS = 4;
    /** Counts of a segment: three numbers each of its candidates, its prescan, and its cells. */
    static final int COUNTS = 9;
    /** Fates of segments: one stays if it has neither. */
    static final int NEW_WORDS = 1;
    static final int MERGED = 2;

    private IndexCore() {}

    /** The system's words for an error number, in UTF-8. */
    static native byte[] reason(int errno);

    /**
     * Of each segment, {@code files} has its own and that of its words, or null; {@code numbers} and {@code counts} are
     * one segment after the other.
     */
    static native long openIndex(byte[][] files, long[] numbers, int[][] deleted, double[] counts, int dim,
        long[] error);

    static native void closeIndex(long index);

    static native int verify(long index, ByteBuffer stop, long[] error);

    /** Photos, bytes of all parts, and 1 if there are words. */
    static native long[] size(long index);

    static native long[] find(long index, byte[][] paths, long[] error);

    static native byte[][] paths(long index, long[] rows, long[] error);

    /** The paths that come after {@code after}, as many as {@code rows} has room for, and their rows. */
    static native byte[][] list(long index, byte[] after, long[] rows, long[] error);

    /** Arrays may be null: {@code stamps} [rows][2], {@code isRead} [rows], {@code embeddings} [rows][D]. */
    static native int photos(long index, long[] rows, int[] stamps, byte[] isRead, float[] embeddings, long[] error);

    /** {@code rows} of each segment have a bit for each that passes, or are null; sets {@code count} [1]. */
    static native long openFilter(long index, long[][] rows, byte[][] place, long[] count, long[] error);

    static native void closeFilter(long filter);

    /** Fills {@code rows} and {@code scores} [k], and {@code scanMs} [1]; how many were found. */
    static native int search(long index, long filter, float[] query, boolean exact, long[] rows, float[] scores,
        double[] scanMs, long[] error);

    /** Fills {@code rows}, {@code shares} and {@code cosines} [k], these with {@code near} [D] or null; how many. */
    static native int searchWords(long index, long filter, byte[][] terms, byte[] modes, float[] near, long[] rows,
        float[] shares, float[] cosines, long[] error);

    static native byte[][] readWords(long index, long[] rows, long[] error);

    /** 1 for each word that matches one of the terms. */
    static native byte[] alike(byte[][] terms, byte[] modes, byte[][] words);

    /** {@code spool} is a file that is gone at once; {@code cellsFrom} and {@code cellsGain} below 0 are as usual. */
    static native long openWriter(long index, byte[] spool, int cellsFrom, double cellsGain, long[] error);

    static native void closeWriter(long writer);

    static native int add(long writer, byte[][] paths, float[] embeddings, int[] stamps, int[] times, long[] error);

    static native long move(long writer, byte[][] from, byte[][] to, int[] stamps, long[] error);

    static native long delete(long writer, byte[][] files, long[] error);

    static native long setWords(long writer, byte[][] paths, byte[][] records, long[] error);

    /**
     * Sets the fate of each segment, and the deleted rows of those that stay. Returns 1 if there is anything to commit,
     * 1 if the new segment has words, and its photos. After it, a writer takes no more changes.
     */
    static native long[] plan(long writer, byte[] fates, int[][] deleted, long[] error);

    /** Creates the file, and sets its {@link #NUMBERS} and {@link #COUNTS}. */
    static native int writeSegment(long writer, byte[] file, ByteBuffer stop, long[] numbers, double[] counts,
        long[] error);

    static native byte[][] names(long writer, int entry, long[] error);

    /** Creates the file. */
    static native int writeWords(long writer, int entry, byte[][] names, byte[] file, long[] error);
}
