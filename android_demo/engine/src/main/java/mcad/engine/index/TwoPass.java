package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import java.util.List;

/** Search in two passes: the codes nearest to the query's ({@link Scan}), then their cosines ({@link Rescore}). */
final class TwoPass {
    private static final double MS = 1e6;
    /** How many cells do for fewer photos was not measured: an eighth of a sample. */
    private static final int CELLS_MEASURED_FROM = 2048;

    private final List<LiveSegment> segments;
    /** The rows to which the search is limited; null for all. */
    private final Rows within;
    /** Of each segment, what may be found without a filter; null as long as nobody has asked. */
    private final FilteredPlaces[] live;

    TwoPass(List<LiveSegment> segments, Rows within) {
        this.segments = segments;
        this.within = within;
        live = new FilteredPlaces[segments.size()];
    }

    /** The {@code k} live photos nearest to a rotated query of length 1. {@code exact}: every photo is scored. */
    Hits search(float[] rotated, int k, boolean exact) throws IOException {
        long started = System.nanoTime();
        Candidates[] candidates = new Candidates[segments.size()];
        for (int s = 0; s < candidates.length; s++) {
            candidates[s] = scan(s, rotated, k, exact);
        }
        long scannedAt = System.nanoTime();
        Hits best = best(candidates, score(rotated, candidates, k), k);
        double scanMs = (scannedAt - started) / MS;
        return new Hits(best.paths(), best.scores(), scanMs, (System.nanoTime() - scannedAt) / MS);
    }

    /** Which places of a segment the second pass may score. */
    private Candidates scan(int s, float[] rotated, int k, boolean exact) throws IOException {
        LiveSegment live = segments.get(s);
        Segment segment = live.segment();
        FilteredPlaces filtered = filtered(s);
        int photos = filtered.count();
        int count = live.candidates().of(photos, k);
        if (exact || count >= photos || segment.scanned == 0) {
            return Candidates.all(filtered.all());
        }
        QuantizedQuery query = BitWeights.quantize(segment.bitWeights, rotated);
        int[] ranges = ranges(live, filtered, rotated, k);
        Prescan prescan = live.prescan();
        if (prescan == null) {
            return new Scan(segment, query, query.words()[0].length, filtered, ranges).nearest(count);
        }
        int prescanned = Math.max(count, prescan.candidates().of(photos, k));
        return new Scan(segment, query, prescan.bits() / 64, filtered, ranges).nearest(prescanned, count);
    }

    private FilteredPlaces filtered(int s) throws IOException {
        if (within != null) {
            return within.of(s);
        }
        if (live[s] == null) {
            live[s] = FilteredPlaces.live(segments.get(s));
        }
        return live[s];
    }

    /** The ranges of places that a scan reads: the nearest cells, or all. */
    static int[] ranges(LiveSegment live, FilteredPlaces filtered, float[] rotated, int k) {
        int photos = filtered.count();
        boolean measured = live.cells() != null && photos >= CELLS_MEASURED_FROM;
        int wanted = measured ? live.cells().of(photos, k) : photos;
        if (wanted >= photos) {
            return new int[] {0, live.segment().photos};
        }
        return filtered.ranges(live.segment().cells.order(rotated), wanted);
    }

    /** Keys of the best candidates, best first: {@code k} and some more, or all. */
    private long[] score(float[] rotated, Candidates[] candidates, int k) throws IOException {
        Rescore[] passes = new Rescore[candidates.length];
        for (int s = 0; s < passes.length; s++) {
            Segment segment = segments.get(s).segment();
            passes[s] = new Rescore(segment, new Codes.Query(rotated, segment.axis), candidates[s], k, passes.length);
        }
        float[][] scores = new float[passes.length][];
        float beaten = Float.NEGATIVE_INFINITY;
        while (true) {
            for (int s = 0; s < passes.length; s++) {
                passes[s].scoreWanted();
                scores[s] = passes[s].scores();
            }
            long[] order = order(scores, beaten);
            beaten = order.length < k ? Float.NEGATIVE_INFINITY : scoreOf(order[k - 1]);
            boolean more = false;
            for (Rescore pass : passes) {
                more |= pass.wantsMore(beaten);
            }
            if (!more) {
                return order;
            }
        }
    }

    private Hits best(Candidates[] candidates, long[] order, int k) throws IOException {
        int found = Math.min(k, order.length);
        String[] paths = new String[found];
        float[] best = new float[found];
        for (int i = 0; i < found; i++) {
            best[i] = scoreOf(order[i]);
            paths[i] = pathOf(candidates, (int) order[i]);
        }
        return new Hits(paths, best, 0, 0);
    }

    /** Keys of the scored photos that are not below {@code least}, best first. */
    private static long[] order(float[][] scores, float least) {
        int count = 0;
        for (float[] segmentScores : scores) {
            count += segmentScores.length;
        }
        long[] order = new long[count];
        int known = 0;
        int position = 0;
        for (float[] segmentScores : scores) {
            for (float score : segmentScores) {
                if (score >= least) { // NaN is not
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
        while (at >= candidates[s].places().length) {
            at -= candidates[s++].places().length;
        }
        Segment segment = segments.get(s).segment();
        return PathBytes.toString(segment.paths.at(segment.places.rowAt(candidates[s].places()[at])));
    }
}
