package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/** Search in two passes: the codes nearest to the query's, then the cosines of the best by their bytes. */
final class TwoPass {
    private static final double MS = 1e6;

    private final List<LiveSegment> segments;
    private final int dim;
    /** Those that are looked at alone; null for all. */
    private final Rows within;

    TwoPass(List<LiveSegment> segments, int dim, Rows within) {
        this.segments = segments;
        this.dim = dim;
        this.within = within;
    }

    /** The {@code k} live photos nearest to a rotated query of length 1. {@code exact}: every photo is scored. */
    Hits search(float[] rotated, int k, boolean exact) throws IOException {
        long started = System.nanoTime();
        Codes.Query[] queries = new Codes.Query[segments.size()];
        for (int i = 0; i < queries.length; i++) {
            queries[i] = new Codes.Query(rotated, segments.get(i).segment().axis);
        }
        int[][] chosen = scan(rotated, k, exact);
        long scannedAt = System.nanoTime();
        Hits best = rescore(queries, chosen, k);
        double scanMs = (scannedAt - started) / MS;
        return new Hits(best.paths(), best.scores(), scanMs, (System.nanoTime() - scannedAt) / MS);
    }

    /** For each segment its rows, ascending, that the second pass is to score. */
    private int[][] scan(float[] rotated, int k, boolean exact) {
        int[][] rows = new int[segments.size()][];
        for (int s = 0; s < rows.length; s++) {
            LiveSegment live = segments.get(s);
            BitSet passing = within == null ? null : within.of(s);
            int photos = within == null ? live.live() : within.count(s);
            int count = live.reach().candidates(photos, k);
            if (!exact && count < photos && live.segment().scanned > 0) {
                rows[s] = scan(live, Lens.words(live.segment().lens, rotated), passing, photos, count, k);
            } else {
                rows[s] = passing == null ? live.liveRows() : passing.stream().toArray();
            }
        }
        return rows;
    }

    private static int[] scan(LiveSegment live, long[][] words, BitSet passing, int photos, int count, int k) {
        First first = live.first();
        if (first == null) {
            return new Scan(live, words, words[0].length, passing).nearest(count);
        }
        int looked = Math.max(count, first.reach().candidates(photos, k));
        return new Scan(live, words, first.bits() / 64, passing).nearest(looked, count);
    }

    private Hits rescore(Codes.Query[] queries, int[][] chosen, int k) throws IOException {
        int count = 0;
        for (int[] rows : chosen) {
            count += rows.length;
        }
        float[] scores = new float[count];
        long[] order = new long[count];
        Codes.Row row = new Codes.Row(dim);
        int at = 0;
        for (int s = 0; s < chosen.length; s++) {
            Segment segment = segments.get(s).segment();
            boolean dense = chosen[s].length > segment.photos / 8;
            for (int index : chosen[s]) {
                row.read(segment, index, dense);
                scores[at] = queries[s].score(row);
                order[at] = key(scores[at], at);
                at++;
            }
        }
        Arrays.sort(order);
        int found = Math.min(k, count);
        String[] paths = new String[found];
        float[] best = new float[found];
        for (int i = 0; i < found; i++) {
            int position = (int) order[i];
            best[i] = scores[position];
            paths[i] = pathOf(chosen, position);
        }
        return new Hits(paths, best, 0, 0);
    }

    /** Sorts by falling score, then by position. */
    private static long key(float score, int position) {
        int bits = Float.floatToIntBits(score);
        int ascending = bits ^ (bits >> 31 & Integer.MAX_VALUE);
        return ~(long) ascending << 32 | position;
    }

    private String pathOf(int[][] chosen, int position) throws IOException {
        int at = position;
        int s = 0;
        while (at >= chosen[s].length) {
            at -= chosen[s++].length;
        }
        return PathBytes.toString(segments.get(s).segment().paths.at(chosen[s][at]));
    }
}
