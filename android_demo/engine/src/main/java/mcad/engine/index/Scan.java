package mcad.engine.index;

import java.nio.LongBuffer;
import java.util.Arrays;
import java.util.BitSet;

/**
 * Pass 1: the rows of a segment whose codes differ from the query's in the fewest places. A sample of rows says how far
 * is near enough; then one walk through all codes, at about the speed of memory, keeps those that are. Should they be
 * too few, it walks again with a wider limit. Where few rows pass a filter, it goes from one to the next instead.
 */
final class Scan {
    private static final int CHUNK_ROWS = 512;
    private static final int SAMPLE = 4096;
    /** Of rows beyond what is asked for, so that a second walk is rare. */
    private static final double SPARE = 1.5;
    /** Of so many rows one passes where going from one to the next is faster than a walk through all. */
    private static final int SPARSE = 20;

    private final LiveSegment live;
    private final Segment segment;
    private final byte[] code;
    private final int dim;
    /** The live rows that pass a filter; null without one. */
    private final BitSet passing;
    private final int photos;
    private int[] rows;
    private short[] distances;
    private int kept;

    Scan(LiveSegment live, byte[] code, BitSet passing) {
        this.live = live;
        this.code = code;
        this.passing = passing;
        photos = passing == null ? live.live() : passing.cardinality();
        segment = live.segment();
        dim = segment.dim;
    }

    /** {@code count} live rows that pass, at most as many as there are; ascending. */
    int[] nearest(int count) {
        if (passing != null && photos < segment.photos / SPARSE) {
            step();
        } else {
            int limit = limit(count);
            walk(limit, count);
            while (kept < count) {
                limit += Math.max(1, dim / 64);
                walk(limit, count);
            }
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

    private boolean isIn(int row) {
        return passing == null ? !live.isDeleted(row) : passing.get(row);
    }

    /** The first row from {@code row} on that a sample may take; -1 behind the last. */
    private int next(int row) {
        return passing != null ? passing.nextSetBit(row) : row < segment.photos ? row : -1;
    }

    /** A distance within which, by a sample, a few more rows lie than are asked for. */
    private int limit(int count) {
        int stride = Math.max(1, segment.photos / SAMPLE);
        int[] histogram = new int[dim + 1];
        int sampled = 0;
        for (int row = next(0); row >= 0; row = next(row + stride)) {
            histogram[distance(row)]++;
            sampled++;
        }
        int deleted = passing == null ? live.deleted().length : 0;
        double wanted = SPARE * (count + deleted) / (photos + deleted) * sampled;
        int limit = 0;
        int inside = histogram[0];
        while (inside < wanted && limit < dim) {
            inside += histogram[++limit];
        }
        return limit;
    }

    private int distance(int row) {
        int distance = 0;
        for (int i = 0, at = row * code.length; i < code.length; i++) {
            distance += Integer.bitCount((segment.codes.get(at + i) ^ code[i]) & 0xff);
        }
        return distance;
    }

    /** All rows that pass, one by one. */
    private void step() {
        rows = new int[photos];
        distances = new short[photos];
        long[] words = segment.codeWords == null ? null : words(code);
        for (int row = passing.nextSetBit(0); row >= 0; row = passing.nextSetBit(row + 1)) {
            keep(row, words == null ? distance(row) : distance(row, words));
        }
    }

    private int distance(int row, long[] words) {
        int distance = 0;
        for (int i = 0, at = row * words.length; i < words.length; i++) {
            distance += Long.bitCount(segment.codeWords.get(at + i) ^ words[i]);
        }
        return distance;
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
            if (passing != null || live.deleted().length > 0) {
                dropOthers(start);
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
            if (distance <= limit && isIn(row)) {
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

    /** Take rows that are deleted, or do not pass, out of what the chunk from {@code start} on has left. */
    private void dropOthers(int start) {
        int from = kept;
        while (from > 0 && rows[from - 1] >= start) {
            from--;
        }
        int to = from;
        for (int i = from; i < kept; i++) {
            if (isIn(rows[i])) {
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
