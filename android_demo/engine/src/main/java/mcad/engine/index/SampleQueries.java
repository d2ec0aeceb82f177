package mcad.engine.index;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import mcad.engine.base.Vectors;

/**
 * Uses photos of the sample as queries, to measure how many candidates a scan, or the cells, must hold to include the
 * best photos.
 */
final class SampleQueries {
    static final int K = 10;
    private static final int QUERIES = 48;
    private static final int LARGE_K = 80;
    private static final double RECALL = 0.997;
    private static final double EVEN_RECALL = 0.999;
    private static final double MIN_EVENNESS = 0.4;
    private static final double EVEN_TANGENT = 4;
    private static final double EXPONENT = 0.5;
    private static final double MIN_EXPONENT = 0.45;
    private static final double EXPONENT_MARGIN = 0.05;
    private static final double MIN_GROWTH = 0.5;
    private static final double[] GROWTH_SHARES = {0.9, 0.95, 0.98};
    private static final int EXPONENT_FROM = 4096;
    private static final int SUBSAMPLE_STEP = 8;

    private final long[][] codes;
    private final float[][] queries = new float[2 * QUERIES][];
    private final int[] sourceRows = new int[2 * QUERIES];
    /** The 10 best of all photos, the 10 best of every eighth photo, and the 80 best of all. */
    private final int[][][] best = new int[3][2 * QUERIES][];
    private final double recall;
    private int count;

    SampleQueries(List<float[]> sample, float[] axis, long[][] codes) {
        this.codes = codes;
        int step = -Math.floorDiv(-sample.size(), QUERIES);
        Random random = new Random(1);
        boolean isEven = evenness(sample, axis, step) > MIN_EVENNESS;
        recall = isEven ? EVEN_RECALL : RECALL;
        for (int p = 0; p < sample.size(); p += step) {
            add(p, sample.get(p));
            add(p, turned(sample.get(p), axis, isEven ? EVEN_TANGENT : 1, random));
        }
        float[] scores = new float[sample.size()];
        for (int q = 0; q < count; q++) {
            for (int p = 0; p < scores.length; p++) {
                scores[p] = p == sourceRows[q] ? -2 : (float) Vectors.dot(sample.get(p), queries[q]);
            }
            best[0][q] = best(scores, 1, K);
            best[1][q] = best(scores, SUBSAMPLE_STEP, K);
            best[2][q] = best(scores, 1, LARGE_K);
        }
    }

    private void add(int row, float[] query) {
        sourceRows[count] = row;
        queries[count++] = query;
    }

    /** The share of dimensions that the photos' directions effectively use (formula in tuning.py). */
    private static double evenness(List<float[]> sample, float[] axis, int step) {
        List<float[]> residuals = new ArrayList<>();
        for (int p = 0; p < sample.size(); p += step) {
            float[] residual = sample.get(p).clone();
            float projection = (float) Vectors.dot(residual, axis);
            for (int i = 0; i < residual.length; i++) {
                residual[i] -= projection * axis[i];
            }
            residuals.add(Vectors.normalized(residual));
        }
        double squares = 0;
        for (int a = 0; a < residuals.size(); a++) {
            for (int b = 0; b < a; b++) {
                double cosine = Vectors.dot(residuals.get(a), residuals.get(b));
                squares += 2 * cosine * cosine;
            }
        }
        double mean = squares / Math.max(1, residuals.size() * (residuals.size() - 1));
        return mean == 0 ? 1 : 1 / (axis.length * mean);
    }

    private static float[] turned(float[] photo, float[] axis, double tangent, Random random) {
        double projection = Vectors.dot(photo, axis);
        double size = tangent * Math.sqrt(Math.max(0, 1 - projection * projection) / photo.length);
        float[] turned = photo.clone();
        for (int i = 0; i < turned.length; i++) {
            turned[i] += (float) (random.nextBoolean() ? size : -size);
        }
        return Vectors.normalized(turned);
    }

    private static int[] best(float[] scores, int step, int k) {
        long[] order = new long[-Math.floorDiv(-scores.length, step)];
        for (int at = 0; at < order.length; at++) {
            int bits = Float.floatToIntBits(scores[at * step]);
            order[at] = ~(long) (bits ^ (bits >> 31 & Integer.MAX_VALUE)) << 32 | at * step;
        }
        Arrays.sort(order);
        int[] best = new int[Math.min(k, order.length - 1)];
        for (int i = 0; i < best.length; i++) {
            best[i] = (int) order[i];
        }
        return best;
    }

    /** The candidates that a scan with these bit weights needs. */
    CandidateCount fitToEstimates(float[] weights, int scanned) {
        int[][] ranks = ranks();
        int[] distances = new int[codes.length];
        int width = scanned / 64;
        for (int q = 0; q < count; q++) {
            long[] words = BitWeights.quantize(weights, queries[q]).words();
            for (int p = 0; p < distances.length; p++) {
                int distance = 0;
                for (int w = 0; w < width; w++) {
                    long differ = codes[p][w] ^ words[w];
                    distance += Long.bitCount(differ & words[width + w]) + 2 * Long.bitCount(differ & words[2 * width + w]);
                }
                distances[p] = p == sourceRows[q] ? Integer.MAX_VALUE : distance;
            }
            for (int kind = 0; kind < 3; kind++) {
                int step = kind == 1 ? SUBSAMPLE_STEP : 1;
                int[] sorted = new int[-Math.floorDiv(-distances.length, step)];
                for (int at = 0; at < sorted.length; at++) {
                    sorted[at] = distances[at * step];
                }
                Arrays.sort(sorted);
                int k = best[kind][q].length;
                for (int i = 0; i < k; i++) {
                    ranks[kind][q * k + i] = upTo(sorted, distances[best[kind][q][i]]);
                }
            }
        }
        return fit(ranks);
    }

    /** The photos that the scanned cells must hold; {@code cellOfPhoto}: the cell of each photo of the sample. */
    CandidateCount fitToCells(Cells cells, int[] cellOfPhoto) {
        int[][] ranks = ranks();
        for (int kind = 0; kind < 3; kind++) {
            int[] sizes = new int[cells.count];
            for (int p = 0; p < cellOfPhoto.length; p += kind == 1 ? SUBSAMPLE_STEP : 1) {
                sizes[cellOfPhoto[p]]++;
            }
            for (int q = 0; q < count; q++) {
                int[] upTo = new int[cells.count];
                int sum = 0;
                for (int cell : cells.order(queries[q])) {
                    sum += sizes[cell];
                    upTo[cell] = sum;
                }
                int k = best[kind][q].length;
                for (int i = 0; i < k; i++) {
                    ranks[kind][q * k + i] = upTo[cellOfPhoto[best[kind][q][i]]];
                }
            }
        }
        return fit(ranks);
    }

    private int[][] ranks() {
        int[][] ranks = new int[3][];
        for (int kind = 0; kind < 3; kind++) {
            ranks[kind] = new int[count * best[kind][0].length];
        }
        return ranks;
    }

    /** Fit a count that includes nearly all of the best photos to their ranks. */
    private CandidateCount fit(int[][] ranks) {
        for (int[] kind : ranks) {
            Arrays.sort(kind);
        }
        double whole = at(ranks[0], recall);
        double exponent = EXPONENT;
        if (codes.length >= EXPONENT_FROM) {
            exponent = slope(ranks[1], ranks[0], SUBSAMPLE_STEP) + EXPONENT_MARGIN;
            exponent = Math.min(Math.max(exponent, MIN_EXPONENT), 1);
        }
        double growth = slope(ranks[0], ranks[2], (double) LARGE_K / K);
        growth = Math.min(Math.max(growth, MIN_GROWTH), 1);
        double factor = whole / (Math.pow(codes.length, exponent) * Math.pow(K, growth));
        return new CandidateCount(factor, exponent, growth);
    }

    /** The quantile {@code share} of sorted ranks. */
    private static int at(int[] ranks, double share) {
        return ranks[(int) Math.ceil(share * ranks.length) - 1];
    }

    /** The exponent e for which ranks grow by {@code times} ^ e, on average. */
    private static double slope(int[] small, int[] large, double times) {
        double sum = 0;
        for (double share : GROWTH_SHARES) {
            sum += Math.log((double) at(large, share) / at(small, share));
        }
        return sum / (GROWTH_SHARES.length * Math.log(times));
    }

    /** The count of sorted numbers that are at most {@code most}. */
    private static int upTo(int[] sorted, int most) {
        int low = 0;
        int high = sorted.length;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (sorted[middle] <= most) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }
}
