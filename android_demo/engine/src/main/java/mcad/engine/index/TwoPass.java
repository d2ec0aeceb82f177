package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/** Search in two passes: the codes nearest to the query's ({@link Scan}), then their cosines ({@link Rescore}). */
final class TwoPass {
    private static final double MS = 1e6;

    private final List<LiveSegment> segments;
    /** Those that are looked at alone; null for all. */
    private final Rows within;

    TwoPass(List<LiveSegment> segments, Rows within) {
        this.segments = segments;
        this.within = within;
    }

    /** The {@code k} live photos nearest to a rotated query of length 1. {@code exact}: every photo is scored. */
    Hits search(float[] rotated, int k, boolean exact) throws IOException {
        long started = System.nanoTime();
        Candidates[] candidates = new Candidates[segments.size()];
        for (int s = 0; s < candidates.length; s++) {
            candidates[s] = scan(s, rotated, k, exact);
        }
        long scannedAt = System.nanoTime();
        Hits best = best(candidates, scores(rotated, candidates, k), k);
        double scanMs = (scannedAt - started) / MS;
        return new Hits(best.paths(), best.scores(), scanMs, (System.nanoTime() - scannedAt) / MS);
    }

    /** Which rows of a segment the second pass may score. */
    private Candidates scan(int s, float[] rotated, int k, boolean exact) {
        LiveSegment live = segments.get(s);
        BitSet passing = within == null ? null : within.of(s);
        int photos = within == null ? live.live() : within.count(s);
        int count = live.reach().candidates(photos, k);
        if (exact || count >= photos || live.segment().scanned == 0) {
            return Candidates.all(passing == null ? live.liveRows() : passing.stream().toArray());
        }
        QueryWords query = Lens.words(live.segment().lens, rotated);
        First first = live.first();
        if (first == null) {
            return new Scan(live, query, query.words()[0].length, passing).nearest(count);
        }
        int looked = Math.max(count, first.reach().candidates(photos, k));
        return new Scan(live, query, first.bits() / 64, passing).nearest(looked, count);
    }

    /** For each segment the scores of its candidates; NaN for those that are not among the best. */
    private float[][] scores(float[] rotated, Candidates[] candidates, int k) throws IOException {
        Rescore[] passes = new Rescore[candidates.length];
        for (int s = 0; s < passes.length; s++) {
            Segment segment = segments.get(s).segment();
            passes[s] = new Rescore(segment, new Codes.Query(rotated, segment.axis), candidates[s], k);
        }
        float[][] scores = new float[passes.length][];
        boolean more = true;
        while (more) {
            for (int s = 0; s < passes.length; s++) {
                passes[s].scoreWanted();
                scores[s] = passes[s].scores();
            }
            long[] order = order(scores);
            double beaten = order.length < k ? Double.NEGATIVE_INFINITY : scoreOf(order[k - 1]);
            more = false;
            for (Rescore pass : passes) {
                more |= pass.wantsMore(beaten, Rescore.MISSED * k / passes.length);
            }
        }
        return scores;
    }

    private Hits best(Candidates[] candidates, float[][] scores, int k) throws IOException {
        long[] order = order(scores);
        int found = Math.min(k, order.length);
        String[] paths = new String[found];
        float[] best = new float[found];
        for (int i = 0; i < found; i++) {
            best[i] = scoreOf(order[i]);
            paths[i] = pathOf(candidates, (int) order[i]);
        }
        return new Hits(paths, best, 0, 0);
    }

    /** Keys of what was scored, best first. */
    private static long[] order(float[][] scores) {
        int count = 0;
        for (float[] some : scores) {
            count += some.length;
        }
        long[] order = new long[count];
        int known = 0;
        int position = 0;
        for (float[] some : scores) {
            for (float score : some) {
                if (!Float.isNaN(score)) {
                    order[known++] = key(score, position);
                }
                position++;
            }
        }
        long[] sorted = Arrays.copyOf(order, known);
        Arrays.sort(sorted);
        return sorted;
    }

    /** Sorts by falling score, then by position. */
    private static long key(float score, int position) {
        int bits = Float.floatToIntBits(score);
        int ascending = bits ^ (bits >> 31 & Integer.MAX_VALUE);
        return ~(long) ascending << 32 | position;
    }

    private static float scoreOf(long key) {
        int ascending = (int) (~key >> 32);
        return Float.intBitsToFloat(ascending ^ (ascending >> 31 & Integer.MAX_VALUE));
    }

    private String pathOf(Candidates[] candidates, int position) throws IOException {
        int at = position;
        int s = 0;
        while (at >= candidates[s].rows().length) {
            at -= candidates[s++].rows().length;
        }
        return PathBytes.toString(segments.get(s).segment().paths.at(candidates[s].rows()[at]));
    }
}
