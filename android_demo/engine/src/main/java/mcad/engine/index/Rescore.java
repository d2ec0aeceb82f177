package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;

/**
 * Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best. The nearest are scored
 * first: they tell how cosines follow from bits that differ, how large errors are, and which cosine is to be beaten.
 * Then more, nearest first, as long as one of the rest is likely to beat it.
 */
final class Rescore {
    /**
     * Of each result, how much may be expected to be missed among those that are left out; and where bits tell so
     * little that more than one photo of so many is a candidate, and misses add up.
     */
    private static final double MISSED = 1 / 64.0;
    private static final double MISSED_OF_MANY = 1 / 512.0;
    private static final double MANY = 8;

    private static final int SURE = 128;
    private static final int SURE_A_RESULT = 4;
    private static final int SURE_PART = 8;
    /** Each time, so many times as many as are scored already. */
    private static final int MORE = 2;
    /** Of errors, so that their sums do not round. */
    private static final double UNIT = 1.0 / (1 << 18);

    private final Segment segment;
    private final Codes.Query query;
    private final Codes.Row row;
    private final Candidates candidates;
    /** Whether they are more than one photo of MANY. */
    private final boolean dense;
    /** How many of the best may be expected among those that are left out. */
    private final double missed;
    /** Positions of candidates, nearest first; those scored together ascend. */
    private final int[] order;
    /** Of each candidate; NaN where it is not known. */
    private final float[] scores;
    private int scored;
    private int wanted;

    /** Of the candidates of {@code segments} segments these. */
    Rescore(Segment segment, Codes.Query query, Candidates candidates, int k, int segments) {
        this.segment = segment;
        this.query = query;
        this.candidates = candidates;
        row = new Codes.Row(segment.axis.length);
        dense = candidates.places().length > segment.photos / MANY;
        missed = (dense ? MISSED_OF_MANY : MISSED) * k / segments;
        scores = new float[candidates.places().length];
        Arrays.fill(scores, Float.NaN);
        order = nearestFirst(candidates);
        int sure = Math.max(Math.max(SURE, SURE_A_RESULT * k), scores.length / SURE_PART);
        wanted = candidates.distances() == null ? scores.length : Math.min(scores.length, sure);
    }

    /** Score the wanted candidates. */
    void scoreWanted() throws IOException {
        Arrays.sort(order, scored, wanted);
        for (; scored < wanted; scored++) {
            int at = order[scored];
            row.read(segment, candidates.places()[at], dense);
            scores[at] = query.score(row);
        }
    }

    /**
     * Whether more of the rest than may be missed are expected to have a cosine above {@code beaten}; so many are
     * wanted then, within bounds.
     */
    boolean wantsMore(double beaten) {
        if (scored == scores.length) {
            return false;
        }
        double[] spread = spread();
        double beyond = 0;
        int last = scores.length;
        int distance = -1;
        double expected = 0;
        while (last > scored) {
            int at = order[last - 1];
            if (candidates.distances()[at] != distance) { // many are at the same
                distance = candidates.distances()[at];
                expected = above((beaten - spread[0] - estimate(at)) / spread[1]);
            }
            beyond += expected;
            if (beyond > missed) {
                break;
            }
            last--;
        }
        wanted = Math.min(last, scored + MORE * scored);
        return wanted > scored;
    }

    /** Scores of candidates, ascending by place; NaN for those that are not among the best. */
    float[] scores() {
        return scores;
    }

    /** A cosine by its bits, up to a constant. */
    private double estimate(int at) {
        return candidates.distances()[at] * (-2 * candidates.step());
    }

    /** The mean of errors, and their standard deviation, above 0. */
    private double[] spread() {
        double sum = 0;
        double squares = 0;
        for (int i = 0; i < scored; i++) {
            double error = Math.rint((scores[order[i]] - estimate(order[i])) / UNIT);
            sum += error;
            squares += error * error;
        }
        double mean = sum / scored;
        double variance = squares / scored - mean * mean;
        return new double[] {mean * UNIT, Math.max(Math.sqrt(Math.max(variance, 0)), 1) * UNIT};
    }

    /** How probable it is at most that a normal error is above so many deviations. */
    private static double above(double deviations) {
        return deviations < 0 ? 1 : Math.exp(-0.5 * deviations * deviations) / 2;
    }

    /** By distance, those at the same by place: counted, as there are few distances. */
    private static int[] nearestFirst(Candidates candidates) {
        int[] order = new int[candidates.places().length];
        int[] distances = candidates.distances();
        if (distances == null) {
            for (int at = 0; at < order.length; at++) {
                order[at] = at;
            }
            return order;
        }
        int furthest = 0;
        for (int distance : distances) {
            furthest = Math.max(furthest, distance);
        }
        int[] next = new int[furthest + 2];
        for (int distance : distances) {
            next[distance + 1]++;
        }
        for (int distance = 1; distance < next.length; distance++) {
            next[distance] += next[distance - 1];
        }
        for (int at = 0; at < order.length; at++) {
            order[next[distances[at]]++] = at;
        }
        return order;
    }
}
