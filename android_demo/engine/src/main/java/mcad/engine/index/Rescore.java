package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;

/**
 * Pass 2: cosines by the bytes of what pass 1 chose, as long as one may be among the best. The nearest rows are scored
 * first: they tell how cosines follow from bits that differ, how large errors are, and which cosine is to be beaten. Of
 * the others only those are read that may beat it.
 */
final class Rescore {
    private static final int SURE = 128;
    private static final int SURE_A_RESULT = 4;
    /** Of errors, so that their sums do not round. */
    private static final double UNIT = 1.0 / (1 << 18);

    private final Segment segment;
    private final Codes.Query query;
    private final Codes.Row row;
    private final Candidates candidates;
    private final boolean dense;
    /** Of each candidate; NaN where it is not known. */
    private final float[] scores;
    private int scored;

    Rescore(Segment segment, Codes.Query query, Candidates candidates) {
        this.segment = segment;
        this.query = query;
        this.candidates = candidates;
        row = new Codes.Row(segment.axis.length);
        dense = candidates.rows().length > segment.photos / 8;
        scores = new float[candidates.rows().length];
        Arrays.fill(scores, Float.NaN);
    }

    /** The nearest ones, of which there are always enough for {@code k} results; all where nothing tells which. */
    void scoreNearest(int k) throws IOException {
        int sure = Math.max(SURE, SURE_A_RESULT * k);
        int[] distances = candidates.distances();
        if (distances == null || sure >= scores.length) {
            for (int at = 0; at < scores.length; at++) {
                score(at);
            }
            return;
        }
        int[] sorted = distances.clone();
        Arrays.sort(sorted);
        int limit = sorted[sure - 1];
        int ties = sure - lowerBound(sorted, limit);
        for (int at = 0; at < scores.length; at++) {
            if (distances[at] < limit || distances[at] == limit && ties-- > 0) {
                score(at);
            }
        }
    }

    /** Those others that may have a cosine of {@code beaten} or more. */
    void scoreNear(double beaten) throws IOException {
        if (scored == scores.length) {
            return;
        }
        double most = most();
        for (int at = 0; at < scores.length; at++) {
            if (Float.isNaN(scores[at]) && estimate(at) + most >= beaten) {
                score(at);
            }
        }
    }

    /** Scores of candidates, ascending by row; NaN for those that are not among the best. */
    float[] scores() {
        return scores;
    }

    private void score(int at) throws IOException {
        row.read(segment, candidates.rows()[at], dense);
        scores[at] = query.score(row);
        scored++;
    }

    /** A cosine by its bits, up to a constant. */
    private double estimate(int at) {
        return candidates.distances()[at] * (-2 * candidates.step());
    }

    /** What hardly one error is above: the largest of n normal ones is about sqrt(2 ln n) standard deviations. */
    private double most() {
        double sum = 0;
        double squares = 0;
        for (int at = 0; at < scores.length; at++) {
            if (!Float.isNaN(scores[at])) {
                double error = Math.rint((scores[at] - estimate(at)) / UNIT);
                sum += error;
                squares += error * error;
            }
        }
        double mean = sum / scored;
        double variance = squares / scored - mean * mean;
        return (mean + Math.sqrt(2 * Math.log(scores.length) * Math.max(variance, 0))) * UNIT;
    }

    private static int lowerBound(int[] sorted, int value) {
        int at = 0;
        while (sorted[at] < value) {
            at++;
        }
        return at;
    }
}
