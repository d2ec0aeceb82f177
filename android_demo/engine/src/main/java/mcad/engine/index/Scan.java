package mcad.engine.index;

import java.nio.LongBuffer;
import java.util.Arrays;

/**
 * Pass 1: the rows of a segment whose codes differ from the query's in the fewest places. A sample of rows says how far
 * is near enough; then one walk through all codes, at about the speed of memory, keeps those that are. Should they be
 * too few, it walks again with a wider limit.
 */
final class Scan {
    private static final int CHUNK_ROWS = 512;
    private static final int SAMPLE = 4096;
    /** Of rows beyond what is asked for, so that a second walk is rare. */
    private static final double SPARE = 1.5;

    private final LiveSegment live;
    private final Segment segment;
    private final byte[] code;
    private final int dim;
    private int[] rows;
    private short[] distances;
    private int kept;

    Scan(LiveSegment live, byte[] code) {
        this.live = live;
        this.code = code;
        segment = live.segment();
        dim = segment.dim;
    }

    /** {@code count} live rows, at most as many as there are; ascending. */
    int[] nearest(int count) {
        int limit = limit(count);
        walk(limit, count);
        while (kept < count) {
            limit += Math.max(1, dim / 64);
            walk(limit, count);
        }
        int[] histogram = new int[dim + 1];
        for (int i = 0; i < kept; i++) {
            histogram[distances[i]]++;
        }
        int last = 0;
        int nearer = 0;
        while (nearer + histogram[last] < count) {
            nearer += histogram[last++];
        }
        int ties = count - nearer;
        int[] nearest = new int[count];
        int found = 0;
        for (int i = 0; i < kept && found < count; i++) {
            if (distances[i] < last || distances[i] == last && ties-- > 0) {
                nearest[found++] = rows[i];
            }
        }
        return nearest;
    }

    /** A distance within which, by a sample, a few more rows lie than are asked for. */
    private int limit(int count) {
        int stride = Math.max(1, segment.photos / SAMPLE);
        int[] histogram = new int[dim + 1];
        byte[] sample = new byte[code.length];
        int sampled = 0;
        for (int row = 0; row < segment.photos; row += stride) {
            segment.code(row, sample);
            int distance = 0;
            for (int i = 0; i < code.length; i++) {
                distance += Integer.bitCount((sample[i] ^ code[i]) & 0xff);
            }
            histogram[distance]++;
            sampled++;
        }
        double wanted = SPARE * (count + live.deleted().length) / segment.photos * sampled;
        int limit = 0;
        int inside = histogram[0];
        while (inside < wanted && limit < dim) {
            inside += histogram[++limit];
        }
        return limit;
    }

    private void walk(int limit, int count) {
        rows = new int[2 * count + CHUNK_ROWS];
        distances = new short[rows.length];
        kept = 0;
        if (segment.codeWords == null) {
            walkBytes(limit);
            return;
        }
        long[] words = words(code);
        LongBuffer codes = segment.codeWords.duplicate();
        // Chunk by chunk out of the map: arrays are what a JVM reads fast.
        long[] chunk = new long[CHUNK_ROWS * words.length];
        for (int start = 0; start < segment.photos; start += CHUNK_ROWS) {
            int some = Math.min(CHUNK_ROWS, segment.photos - start);
            codes.get(chunk, 0, some * words.length);
            makeRoom();
            if (words.length == 4) {
                walkFour(chunk, words, start, some, limit);
            } else {
                walkWords(chunk, words, start, some, limit);
            }
            if (live.deleted().length > 0) {
                dropDeleted(start);
            }
        }
    }

    private void walkFour(long[] chunk, long[] words, int start, int some, int limit) {
        long a = words[0];
        long b = words[1];
        long c = words[2];
        long d = words[3];
        for (int row = 0; row < some; row++) {
            int distance = Long.bitCount(chunk[4 * row] ^ a) + Long.bitCount(chunk[4 * row + 1] ^ b)
                + Long.bitCount(chunk[4 * row + 2] ^ c) + Long.bitCount(chunk[4 * row + 3] ^ d);
            if (distance <= limit) {
                keep(start + row, distance);
            }
        }
    }

    private void walkWords(long[] chunk, long[] words, int start, int some, int limit) {
        for (int row = 0, at = 0; row < some; row++) {
            int distance = 0;
            for (long word : words) {
                distance += Long.bitCount(chunk[at++] ^ word);
            }
            if (distance <= limit) {
                keep(start + row, distance);
            }
        }
    }

    private void walkBytes(int limit) {
        for (int row = 0, at = 0; row < segment.photos; row++) {
            int distance = 0;
            for (byte bits : code) {
                distance += Integer.bitCount((segment.codes.get(at++) ^ bits) & 0xff);
            }
            if (distance <= limit && !live.isDeleted(row)) {
                makeRoom();
                keep(row, distance);
            }
        }
    }

    private void keep(int row, int distance) {
        rows[kept] = row;
        distances[kept++] = (short) distance;
    }

    private void makeRoom() {
        if (rows.length - kept < CHUNK_ROWS) {
            rows = Arrays.copyOf(rows, 2 * rows.length);
            distances = Arrays.copyOf(distances, rows.length);
        }
    }

    /** Take deleted rows out of what the chunk from {@code start} on has left. */
    private void dropDeleted(int start) {
        int from = kept;
        while (from > 0 && rows[from - 1] >= start) {
            from--;
        }
        int to = from;
        for (int i = from; i < kept; i++) {
            if (!live.isDeleted(rows[i])) {
                rows[to] = rows[i];
                distances[to++] = distances[i];
            }
        }
        kept = to;
    }

    /** A code [D/8] as words of 64 bits, as they lie in the file. */
    private static long[] words(byte[] code) {
        long[] words = new long[code.length / 8];
        for (int i = 0; i < code.length; i++) {
            words[i >> 3] |= (code[i] & 0xffL) << 8 * (i & 7);
        }
        return words;
    }
}
