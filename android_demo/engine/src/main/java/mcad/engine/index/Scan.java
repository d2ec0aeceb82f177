package mcad.engine.index;

import java.nio.LongBuffer;
import java.util.Arrays;

/**
 * Pass 1: the places of a segment at the least distance from a query's words. One walk through the columns, or through
 * ranges of them, at about the speed of memory, keeps what is near enough; as soon as enough are, only nearer ones are
 * of interest. Where few photos pass a filter, it goes from one to the next instead.
 */
final class Scan {
    private static final int CHUNK = 2048;
    /** Of so many photos one passes where going from one to the next is faster than a walk through all. */
    private static final int SPARSE = 20;

    private final Segment segment;
    private final long[][] query;
    private final double step;
    private final int words;
    private final int largest;
    private final int[] sums = new int[CHUNK];
    private final FilteredPlaces filtered;
    /** Of places: from, until, from, until ... */
    private final int[] ranges;
    private int[] places;
    private short[] distances;
    private int kept;
    /** How many are kept at each distance, how many of them are nearer than {@code limit}. */
    private int[] histogram;
    private int inside;
    private int limit;

    /**
     * Of the words of {@code query} [scanned / 64] the first {@code words} are read, in some ascending ranges of
     * places.
     */
    Scan(Segment segment, QuantizedQuery query, int words, FilteredPlaces filtered, int[] ranges) {
        this.segment = segment;
        this.query = query.words();
        step = query.step();
        this.filtered = filtered;
        this.ranges = ranges;
        this.words = words;
        largest = 3 * 64 * words;
    }

    /** What may be found in the ranges, one by one; of these the nearest. */
    private Candidates each(int count) {
        places = new int[filtered.count()];
        distances = new short[places.length];
        kept = 0;
        histogram = new int[largest + 1];
        for (int range = 0; range < ranges.length; range += 2) {
            int place = filtered.next(ranges[range]);
            for (; place >= 0 && place < ranges[range + 1]; place = filtered.next(place + 1)) {
                int distance = distance(place, 0, words);
                places[kept] = place;
                distances[kept++] = (short) distance;
                histogram[distance]++;
            }
        }
        return kept <= count ? kept() : nearestOf(count);
    }

    private int distance(int place, int from, int until) {
        int distance = 0;
        for (int word = from; word < until; word++) {
            long differ = segment.columns.get(word * segment.photos + place) ^ query[0][word];
            distance += Long.bitCount(differ & query[1][word]) + 2 * Long.bitCount(differ & query[2][word]);
        }
        return distance;
    }

    /** Of those that are kept the {@code count} nearest. */
    private Candidates nearestOf(int count) {
        int limit = 0;
        int nearer = 0;
        while (nearer + histogram[limit] < count) {
            nearer += histogram[limit++];
        }
        compact(count, limit, nearer);
        return kept();
    }

    /**
     * {@code count} places, at least one, of photos that may be found, ascending; fewer where the ranges have fewer.
     * Ties go to the first.
     */
    Candidates nearest(int count) {
        if (filtered.isSparse(SPARSE)) {
            return each(count);
        }
        places = new int[count + 2 * CHUNK];
        distances = new short[places.length];
        kept = 0;
        histogram = new int[largest + 1];
        inside = 0;
        limit = largest + 1;
        LongBuffer columns = segment.columns.duplicate();
        // Chunk by chunk out of the map: arrays are what a JVM reads fast.
        long[] first = new long[CHUNK];
        long[] second = new long[CHUNK];
        for (int range = 0; range < ranges.length; range += 2) {
            for (int start = ranges[range]; start < ranges[range + 1]; start += CHUNK) {
                int length = Math.min(CHUNK, ranges[range + 1] - start);
                add(columns, start, length, first, second);
                for (int i = next(sums, 0, length, limit); i < length; i = next(sums, i + 1, length, limit)) {
                    keep(start + i, sums[i], count);
                }
                if (kept > count + CHUNK / 2 && inside >= count) {
                    compact(count, limit, inside - histogram[limit]);
                }
            }
        }
        if (inside >= count) {
            compact(count, limit, inside - histogram[limit]);
        }
        return kept();
    }

    /** The distances of a chunk, into sums. */
    private void add(LongBuffer columns, int start, int length, long[] first, long[] second) {
        Arrays.fill(sums, 0, length, 0);
        for (int word = 0; word + 1 < words; word += 2) {
            columns.position(word * segment.photos + start);
            columns.get(first, 0, length);
            columns.position((word + 1) * segment.photos + start);
            columns.get(second, 0, length);
            addWords(sums, first, second, word, length);
        }
        if (words % 2 == 1) {
            columns.position((words - 1) * segment.photos + start);
            columns.get(first, 0, length);
            addWord(sums, first, words - 1, length);
        }
    }

    /** The first position from {@code i} on at less than {@code limit}; {@code length} where there is none. */
    private static int next(int[] sums, int i, int length, int limit) {
        int at = i;
        while (at < length && sums[at] >= limit) {
            at++;
        }
        return at;
    }

    private void keep(int place, int distance, int count) {
        if (!filtered.has(place)) {
            return;
        }
        places[kept] = place;
        distances[kept++] = (short) distance;
        histogram[distance]++;
        if (++inside >= count) {
            limit = Math.min(limit, largest);
            while (inside - histogram[limit] >= count) {
                inside -= histogram[limit--];
            }
        }
    }

    /** Of the {@code prescanned} nearest, the {@code count} nearest by all words that there are. */
    Candidates nearest(int prescanned, int count) {
        Candidates found = nearest(prescanned);
        int all = query[0].length;
        if (words == all) {
            return found;
        }
        histogram = new int[3 * 64 * all + 1];
        for (int i = 0; i < kept; i++) {
            int distance = distances[i] + distance(places[i], words, all);
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
        return new Candidates(Arrays.copyOf(places, kept), far, step);
    }

    private void addWords(int[] sums, long[] a, long[] b, int word, int length) {
        long signA = query[0][word];
        long oneA = query[1][word];
        long twoA = query[2][word];
        long signB = query[0][word + 1];
        long oneB = query[1][word + 1];
        long twoB = query[2][word + 1];
        for (int i = 0; i < length; i++) {
            long x = a[i] ^ signA;
            long y = b[i] ^ signB;
            sums[i] += Long.bitCount(x & oneA) + Long.bitCount(y & oneB)
                + 2 * (Long.bitCount(x & twoA) + Long.bitCount(y & twoB));
        }
    }

    private void addWord(int[] sums, long[] a, int word, int length) {
        long sign = query[0][word];
        long first = query[1][word];
        long second = query[2][word];
        for (int i = 0; i < length; i++) {
            long x = a[i] ^ sign;
            sums[i] += Long.bitCount(x & first) + 2 * Long.bitCount(x & second);
        }
    }

    /** Keep what is nearer than {@code limit}, and of those at it the first, {@code count} in all. */
    private void compact(int count, int limit, int nearer) {
        int ties = count - nearer;
        int to = 0;
        for (int i = 0; i < kept; i++) {
            int distance = distances[i];
            if (distance < limit || distance == limit && ties-- > 0) {
                places[to] = places[i];
                distances[to++] = distances[i];
            }
        }
        kept = to;
    }
}
