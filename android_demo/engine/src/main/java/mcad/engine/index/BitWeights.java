package mcad.engine.index;

import java.util.List;

/**
 * Bit weights [S][D], row-major: the least-squares estimate of a photo from S bits of its code (docs/index-format.md).
 * They are fitted to a sample of photos, and quantize a query into the words that a scan counts.
 */
final class BitWeights {
    private static final int FIT_SAMPLE = 4096;
    private static final int MOST_SCANNED = 1024;
    private static final double RIDGE = 0.02;
    private static final double UNIT = 1.0 / (1 << 16);
    private static final double QUERY_STEPS = 1 << 26;
    private static final int LARGEST = 3;
    private static final double FIRST_STEP = 0.25;
    private static final double NEXT_STEP = 0.05;
    private static final int STEPS = 13;

    private BitWeights() {}

    /** Quantize a rotated query, see {@link Kernel#nearest}. */
    static QuantizedQuery quantize(float[] bitWeights, float[] rotated) {
        int dim = rotated.length;
        double[] steps = new double[dim];
        for (int i = 0; i < dim; i++) {
            steps[i] = Math.rint(rotated[i] * QUERY_STEPS);
        }
        double[] weights = new double[bitWeights.length / dim];
        for (int s = 0; s < weights.length; s++) {
            weights[s] = product(bitWeights, s * dim, steps);
        }
        int[] levels = levels(weights);
        int width = weights.length / 64;
        long[] words = new long[3 * width];
        double product = 0;
        double squares = 0;
        for (int s = 0; s < weights.length; s++) {
            product += levels[s] * Math.abs(weights[s]);
            squares += levels[s] * levels[s];
            words[s >> 6] |= (weights[s] > 0 ? 1L : 0) << s;
            words[width + (s >> 6)] |= (levels[s] & 1L) << s;
            words[2 * width + (s >> 6)] |= (levels[s] >> 1 & 1L) << s;
        }
        return new QuantizedQuery(words, product / Math.max(squares, 1) / QUERY_STEPS);
    }

    /** Four parallel sums; additions are exact, so their order does not matter. */
    private static double product(float[] bitWeights, int from, double[] steps) {
        double first = 0;
        double second = 0;
        double third = 0;
        double fourth = 0;
        for (int i = 0; i < steps.length; i += 4) {
            first += bitWeights[from + i] * steps[i];
            second += bitWeights[from + i + 1] * steps[i + 1];
            third += bitWeights[from + i + 2] * steps[i + 2];
            fourth += bitWeights[from + i + 3] * steps[i + 3];
        }
        return first + second + third + fourth;
    }

    /** Weight sizes as levels 0 to 3, for the step whose levels best match the weights' direction. */
    private static int[] levels(double[] weights) {
        double squares = 0;
        for (double weight : weights) {
            squares += weight * weight;
        }
        int[] best = new int[weights.length];
        double typical = Math.sqrt(squares / weights.length);
        double most = -1;
        int[] tried = new int[weights.length];
        for (int step = 0; step < STEPS && typical > 0; step++) {
            double size = (FIRST_STEP + step * NEXT_STEP) * typical;
            double product = 0;
            double length = 0;
            for (int s = 0; s < tried.length; s++) {
                tried[s] = (int) Math.min(Math.rint(Math.abs(weights[s]) / size), LARGEST);
                product += tried[s] * Math.abs(weights[s]);
                length += tried[s] * tried[s];
            }
            double projection = product / Math.sqrt(Math.max(length, 1));
            if (projection > most) {
                most = projection;
                best = tried.clone();
            }
        }
        return best;
    }

    /** Fits weights for any number of bits to a sample; holds the sample's codes and {@link #moments}. */
    static final class Fit {
        final int most;
        final long[][] codes;
        private final double[][] gram;
        private final double[][] cross;

        Fit(List<float[]> sample, float[] axis) {
            int dim = axis.length;
            most = Math.min(dim, MOST_SCANNED) / 64 * 64;
            codes = new long[sample.size()][most / 64];
            Codes.Row row = new Codes.Row(dim);
            for (int p = 0; p < codes.length; p++) {
                row.encode(sample.get(p), axis);
                for (int s = 0; s < most; s++) {
                    codes[p][s >> 6] |= (row.code[s >> 3] >> (s & 7) & 1L) << s;
                }
            }
            gram = new double[most][most];
            cross = new double[most][dim];
            moments(sample, codes, gram, cross);
        }

        float[] weights(int scanned) {
            return solve(gram, cross, scanned);
        }
    }

    /** Mean products of bits (1 or -1) with bits, and with centred photos. */
    private static void moments(List<float[]> sample, long[][] codes, double[][] gram, double[][] cross) {
        int dim = cross[0].length;
        int step = -Math.floorDiv(-sample.size(), FIT_SAMPLE);
        double[] mean = new double[dim];
        int count = 0;
        for (int p = 0; p < sample.size(); p += step, count++) {
            for (int i = 0; i < dim; i++) {
                mean[i] += sample.get(p)[i];
            }
        }
        double[] residual = new double[dim];
        for (int p = 0; p < sample.size(); p += step) {
            for (int i = 0; i < dim; i++) {
                residual[i] = (sample.get(p)[i] - mean[i] / count) / count;
            }
            for (int s = 0; s < gram.length; s++) {
                double[] products = cross[s];
                boolean set = (codes[p][s >> 6] >> s & 1) != 0;
                for (int i = 0; i < dim; i++) {
                    products[i] += set ? residual[i] : -residual[i];
                }
            }
        }
        long[][] columns = new long[gram.length][(count + 63) / 64];
        for (int p = 0, at = 0; p < sample.size(); p += step, at++) {
            for (int s = 0; s < gram.length; s++) {
                columns[s][at >> 6] |= (codes[p][s >> 6] >> s & 1) << at;
            }
        }
        for (int s = 0; s < gram.length; s++) {
            for (int t = 0; t <= s; t++) {
                int differ = 0;
                for (int w = 0; w < columns[s].length; w++) {
                    differ += Long.bitCount(columns[s][w] ^ columns[t][w]);
                }
                gram[s][t] = 1 - 2.0 * differ / count;
                gram[t][s] = gram[s][t];
            }
        }
    }

    /** (gram + ridge)^-1 cross for the first bits, by Cholesky's L L'. */
    private static float[] solve(double[][] gram, double[][] cross, int scanned) {
        int dim = cross[0].length;
        double[][] lower = new double[scanned][scanned];
        for (int i = 0; i < scanned; i++) {
            for (int j = 0; j <= i; j++) {
                double sum = gram[i][j] + (i == j ? RIDGE : 0);
                for (int k = 0; k < j; k++) {
                    sum -= lower[i][k] * lower[j][k];
                }
                lower[i][j] = i == j ? Math.sqrt(Math.max(sum, 1e-9)) : sum / lower[j][j];
            }
        }
        double[][] solved = new double[scanned][];
        for (int i = 0; i < scanned; i++) {
            solved[i] = cross[i].clone();
            for (int k = 0; k < i; k++) {
                subtract(solved[i], solved[k], lower[i][k]);
            }
            divide(solved[i], lower[i][i]);
        }
        for (int i = scanned - 1; i >= 0; i--) {
            for (int k = i + 1; k < scanned; k++) {
                subtract(solved[i], solved[k], lower[k][i]);
            }
            divide(solved[i], lower[i][i]);
        }
        float[] weights = new float[scanned * dim];
        for (int at = 0; at < weights.length; at++) {
            weights[at] = (float) (Math.rint(solved[at / dim][at % dim] / UNIT) * UNIT);
        }
        return weights;
    }

    private static void subtract(double[] from, double[] row, double times) {
        for (int i = 0; i < from.length; i++) {
            from[i] -= times * row[i];
        }
    }

    private static void divide(double[] row, double by) {
        for (int i = 0; i < row.length; i++) {
            row[i] /= by;
        }
    }
}
