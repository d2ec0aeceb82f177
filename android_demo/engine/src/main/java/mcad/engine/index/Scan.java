package mcad.engine.index;

import java.nio.LongBuffer;
import java.util.Arrays;
import java.util.BitSet;

/**
 * Pass 1: the rows of a segment at the least distance from a query's words. One walk through the columns, at about the
 * speed of memory, keeps what is near enough; as soon as enough are, only nearer ones are of interest. Where few rows pass
 * a filter, it goes from one to the next instead.
 */
final class Scan {
    private static final int CHUNK = 2048;
    /** Of so many rows one passes where going from one to the next is faster than a walk through all. */
    private static final int SPARSE = 20;

    private final LiveSegment live;
    private final Segment segment;
    private final long[][] query;
    private final double step;
    private final int words;
    private final int largest;
    private final int[] sums = new int[CHUNK];
    /** The live rows that pass a filter; null without one. */
    private final BitSet passing;
    private int[] rows;
    private short[] distances;
    private int kept;
    /** How many are kept at each distance, how many of them are nearer than {@code limit}. */
    private int[] histogram;
    private int inside;
    private int limit;

    /** Of the words of {@code query} [scanned / 64] the first {@code words} are read. */
    Scan(LiveSegment live, QueryWords query, int words, BitSet passing) {
        this.live = live;
        this.query = query.words();
        step = query.step();
        this.passing = passing;
        segment = live.segment();
        this.words = words;
        largest = 3 * 64 * words;
    }

    private boolean isIn(int row) {
        return passing == null ? !live.isDeleted(row) : passing.get(row);
    }

    /** All rows that pass, one by one; of these the nearest. */
    private Candidates each(int count) {
        int photos = passing.cardinality();
        rows = new int[photos];
        distances = new short[photos];
        kept = 0;
        histogram = new int[largest + 1];
        for (int row = passing.nextSetBit(0); row >= 0; row = passing.nextSetBit(row + 1)) {
            int distance = distance(row, 0, words);
            rows[kept] = row;
            distances[kept++] = (short) distance;
            histogram[distance]++;
        }
        return nearestOf(count);
    }

    private int distance(int row, int from, int until) {
        int distance = 0;
        for (int word = from; word < until; word++) {
            long differ = segment.columns.get(word * segment.photos + row) ^ query[0][word];
            distance += Long.bitCount(differ & query[1][word]) + 2 * Long.bitCount(differ & query[2][word]);
        }
        return distance;
    }

    /** Of the rows that are kept the {@code count} nearest. */
    private Candidates nearestOf(int count) {
        int limit = 0;
        int nearer = 0;
        while (nearer + histogram[limit] < count) {
            nearer += histogram[limit++];
        }
        compact(count, limit, nearer);
        return kept();
    }

    /** {@code count} live rows that pass, at least one and at most as many as there are; ascending. Ties go to the first. */
    Candidates nearest(int count) {
        if (passing != null && passing.cardinality() < segment.photos / SPARSE) {
            return each(count);
        }
        rows = new int[count + 2 * CHUNK];
        distances = new short[rows.length];
        kept = 0;
        histogram = new int[largest + 1];
        inside = 0;
        limit = largest + 1;
        LongBuffer columns = segment.columns.duplicate();
        // Chunk by chunk out of the map: arrays are what a JVM reads fast.
        long[] one = new long[CHUNK];
        long[] two = new long[CHUNK];
        for (int start = 0; start < segment.photos; start += CHUNK) {
            int some = Math.min(CHUNK, segment.photos - start);
            Arrays.fill(sums, 0);
            for (int word = 0; word + 1 < words; word += 2) {
                columns.position(word * segment.photos + start);
                columns.get(one, 0, some);
                columns.position((word + 1) * segment.photos + start);
                columns.get(two, 0, some);
                addTwo(sums, one, two, word, some);
            }
            if (words % 2 == 1) {
                columns.position((words - 1) * segment.photos + start);
                columns.get(one, 0, some);
                addOne(sums, one, words - 1, some);
            }
            for (int i = next(sums, 0, some, limit); i < some; i = next(sums, i + 1, some, limit)) {
                keep(start + i, sums[i], count);
            }
            if (kept > count + CHUNK / 2 && inside >= count) {
                compact(count, limit, inside - histogram[limit]);
            }
        }
        if (inside >= count) {
            compact(count, limit, inside - histogram[limit]);
        }
        return kept();
    }

    /** The first position from {@code i} on at less than {@code limit}; {@code some} where there is none. */
    private static int next(int[] sums, int i, int some, int limit) {
        int at = i;
        while (at < some && sums[at] >= limit) {
            at++;
        }
        return at;
    }

    private void keep(int row, int distance, int count) {
        if ((passing != null || live.deleted().length > 0) && !isIn(row)) {
            return;
        }
        rows[kept] = row;
        distances[kept++] = (short) distance;
        histogram[distance]++;
        if (++inside >= count) {
            limit = Math.min(limit, largest);
            while (inside - histogram[limit] >= count) {
                inside -= histogram[limit--];
            }
        }
    }

    /** Of the {@code looked} nearest rows, the {@code count} nearest by all words that there are. */
    Candidates nearest(int looked, int count) {
        Candidates found = nearest(looked);
        int all = query[0].length;
        if (words == all) {
            return found;
        }
        histogram = new int[3 * 64 * all + 1];
        for (int i = 0; i < kept; i++) {
            int distance = distances[i] + distance(rows[i], words, all);
            distances[i] = (short) distance;
            histogram[distance]++;
        }
        return kept <= count ? kept() : nearestOf(count);
    }

    private Candidates kept() {
        int[] far = new int[kept];
        for (int i = 0; i < kept; i++) {
            far[i] = distances[i];
        }
        return new Candidates(Arrays.copyOf(rows, kept), far, step);
    }

    private void addTwo(int[] sums, long[] a, long[] b, int word, int some) {
        long signA = query[0][word];
        long oneA = query[1][word];
        long twoA = query[2][word];
        long signB = query[0][word + 1];
        long oneB = query[1][word + 1];
        long twoB = query[2][word + 1];
        for (int i = 0; i < some; i++) {
            long x = a[i] ^ signA;
            long y = b[i] ^ signB;
            sums[i] += Long.bitCount(x & oneA) + Long.bitCount(y & oneB)
                + 2 * (Long.bitCount(x & twoA) + Long.bitCount(y & twoB));
        }
    }

    private void addOne(int[] sums, long[] a, int word, int some) {
        long sign = query[0][word];
        long one = query[1][word];
        long two = query[2][word];
        for (int i = 0; i < some; i++) {
            long x = a[i] ^ sign;
            sums[i] += Long.bitCount(x & one) + 2 * Long.bitCount(x & two);
        }
    }

    /** Keep what is nearer than {@code limit}, and of those at it the first, {@code count} in all. */
    private void compact(int count, int limit, int nearer) {
        int ties = count - nearer;
        int to = 0;
        for (int i = 0; i < kept; i++) {
            int distance = distances[i];
            if (distance < limit || distance == limit && ties-- > 0) {
                rows[to] = rows[i];
                distances[to++] = distances[i];
            }
        }
        kept = to;
    }
}
