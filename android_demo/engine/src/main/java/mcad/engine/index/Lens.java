package mcad.engine.index;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What pass 1 reads and how far it looks (docs/index-format.md): {@code weights} [S][D] one after the other, the
 * least-squares estimate of a photo from S bits of its code; {@code reach} measured on a sample of the photos, with
 * photos as queries, as they are and once more turned in a random direction; {@code first} a scan of fewer bits, or null.
 */
record Lens(float[] weights, Reach reach, First first) {
    private static final int LEAST_PHOTOS = 256;
    private static final int SAMPLE_NUMBERS = 1 << 21; // half of Python's: phones have less memory
    private static final int LEAST_SAMPLE = 2048;
    private static final int FIT_SAMPLE = 4096;
    private static final int MOST_SCANNED = 1024;
    private static final double RIDGE = 0.02;
    private static final double UNIT = 1.0 / (1 << 16);
    private static final double QUERY_STEPS = 1 << 26;
    private static final int LARGEST = 3;
    private static final double FIRST_STEP = 0.25;
    private static final double NEXT_STEP = 0.05;
    private static final int STEPS = 13;
    private static final int QUERIES = 48;
    private static final int K = 10;
    private static final int MANY = 80;
    private static final double HELD = 0.997;
    private static final double EXPONENT = 0.5;
    private static final double LEAST_EXPONENT = 0.45;
    private static final double STEEPER = 0.05;
    private static final double LEAST_GROWTH = 0.5;
    private static final double[] TYPICAL = {0.9, 0.95, 0.98};
    private static final int TELLS_FROM = 4096;
    private static final int EVERY = 8;
    private static final double NS_BYTE = 0.1;
    private static final double NS_PHOTO = 1500;
    private static final double NS_PHOTO_BYTE = 0.6;
    private static final double NS_LOOK = 40;
    private static final double NS_WORD = 60;
    private static final double WIDER = 1.5;
    private static final double WORTH = 1.05;
    /** Words may be harder to place than photos, and what pass 2 leaves out costs little. */
    private static final double SPARE = 2;

    /** Of an index whose photos are all scored. */
    static Lens none() {
        return new Lens(new float[0], new Reach(1, 1, 1), null);
    }

    static int sampleSize(int dim) {
        return Math.max(SAMPLE_NUMBERS / dim, LEAST_SAMPLE);
    }

    /** The words of a rotated query, see Scan. */
    static QueryWords words(float[] lens, float[] rotated) {
        int dim = rotated.length;
        double[] weights = new double[lens.length / dim];
        for (int s = 0; s < weights.length; s++) {
            double sum = 0;
            for (int i = 0; i < dim; i++) {
                sum += lens[s * dim + i] * Math.rint(rotated[i] * QUERY_STEPS);
            }
            weights[s] = sum;
        }
        int[] levels = levels(weights);
        long[][] words = new long[3][weights.length / 64];
        double product = 0;
        double squares = 0;
        for (int s = 0; s < weights.length; s++) {
            product += levels[s] * Math.abs(weights[s]);
            squares += levels[s] * levels[s];
            words[0][s >> 6] |= (weights[s] > 0 ? 1L : 0) << s;
            words[1][s >> 6] |= (levels[s] & 1L) << s;
            words[2][s >> 6] |= (levels[s] >> 1 & 1L) << s;
        }
        return new QueryWords(words, product / Math.max(squares, 1) / QUERY_STEPS);
    }

    /** Sizes of the weights from 0 to 3, by the step for which they point most nearly where the weights do. */
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
            double along = product / Math.sqrt(Math.max(length, 1));
            if (along > most) {
                most = along;
                best = tried.clone();
            }
        }
        return best;
    }

    /** Choose for {@code photos} from a sample of rotated embeddings. */
    static Lens choose(List<float[]> sample, float[] axis, int photos) {
        int dim = axis.length;
        if (sample.size() < LEAST_PHOTOS || dim < 64) {
            return none();
        }
        int most = Math.min(dim, MOST_SCANNED) / 64 * 64;
        Codes.Row row = new Codes.Row(dim);
        long[][] codes = new long[sample.size()][most / 64];
        for (int p = 0; p < codes.length; p++) {
            row.encode(sample.get(p), axis);
            for (int s = 0; s < most; s++) {
                codes[p][s >> 6] |= (row.code[s >> 3] >> (s & 7) & 1L) << s;
            }
        }
        double[][] gram = new double[most][most];
        double[][] cross = new double[most][dim];
        moments(sample, codes, gram, cross);
        Trial trial = new Trial(sample, axis, codes);
        Map<Lens, Double> tried = new LinkedHashMap<>();
        List<Lens> whole = new ArrayList<>();
        for (int quarters = 1; quarters <= 4; quarters++) {
            int scanned = 64 * Math.max(most * quarters / 256, 1);
            float[] weights = solve(gram, cross, scanned);
            Lens lens = new Lens(weights, trial.reach(weights, scanned), null);
            double scores = lens.reach.candidates(photos, K) * (NS_PHOTO + dim * NS_PHOTO_BYTE);
            double cost = photos * (scanned / 8.0) * NS_BYTE + scores;
            tried.put(lens, cost);
            for (Lens narrow : whole) {
                int bits = narrow.weights.length / dim;
                Reach wider = wider(WIDER, narrow.reach);
                double look = NS_LOOK + (scanned - bits) / 64 * NS_WORD;
                double looks = wider.candidates(photos, K) * look + photos * (bits / 8.0) * NS_BYTE;
                tried.put(new Lens(weights, lens.reach, new First(bits, wider)), looks + scores);
            }
            whole.add(lens);
        }
        double least = Collections.min(tried.values());
        // The fewest bits that cost hardly more, and the cheapest way to scan those.
        Lens chosen = null;
        for (Map.Entry<Lens, Double> one : tried.entrySet()) {
            boolean cheap = one.getValue() <= WORTH * least;
            if (cheap && (chosen == null
                    || chosen.weights == one.getKey().weights && one.getValue() < tried.get(chosen))) {
                chosen = one.getKey();
            }
        }
        return new Lens(chosen.weights, wider(SPARE, chosen.reach), chosen.first);
    }

    private static Reach wider(double times, Reach reach) {
        return new Reach(times * reach.factor(), reach.exponent(), reach.growth());
    }

    /** Products of bits (1 or -1) with bits, and with photos less their mean, per photo. */
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
        double[] rest = new double[dim];
        for (int p = 0; p < sample.size(); p += step) {
            for (int i = 0; i < dim; i++) {
                rest[i] = (sample.get(p)[i] - mean[i] / count) / count;
            }
            for (int s = 0; s < gram.length; s++) {
                double[] products = cross[s];
                boolean set = (codes[p][s >> 6] >> s & 1) != 0;
                for (int i = 0; i < dim; i++) {
                    products[i] += set ? rest[i] : -rest[i];
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

    /** Photos of the sample as queries, their best, and at which rank each estimate puts those. */
    private static final class Trial {
        private final long[][] codes;
        private final float[][] queries = new float[2 * QUERIES][];
        private final int[] own = new int[2 * QUERIES];
        /** The ten best of all photos, of every eighth, and the eighty best of all. */
        private final int[][][] best = new int[3][2 * QUERIES][];
        private int count;

        Trial(List<float[]> sample, float[] axis, long[][] codes) {
            this.codes = codes;
            int step = -Math.floorDiv(-sample.size(), QUERIES);
            java.util.Random random = new java.util.Random(1);
            for (int p = 0; p < sample.size(); p += step) {
                add(p, sample.get(p));
                add(p, turned(sample.get(p), axis, random));
            }
            float[] scores = new float[sample.size()];
            for (int q = 0; q < count; q++) {
                for (int p = 0; p < scores.length; p++) {
                    scores[p] = p == own[q] ? -2 : (float) mcad.engine.Vectors.dot(sample.get(p), queries[q]);
                }
                best[0][q] = best(scores, 1, K);
                best[1][q] = best(scores, EVERY, K);
                best[2][q] = best(scores, 1, MANY);
            }
        }

        private void add(int row, float[] query) {
            own[count] = row;
            queries[count++] = query;
        }

        private static float[] turned(float[] photo, float[] axis, java.util.Random random) {
            double along = mcad.engine.Vectors.dot(photo, axis);
            double size = Math.sqrt(Math.max(0, 1 - along * along) / photo.length);
            float[] turned = photo.clone();
            for (int i = 0; i < turned.length; i++) {
                turned[i] += (float) (random.nextBoolean() ? size : -size);
            }
            return mcad.engine.Vectors.normalized(turned);
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

        Reach reach(float[] weights, int scanned) {
            int[][] ranks = new int[3][];
            for (int some = 0; some < 3; some++) {
                ranks[some] = new int[count * best[some][0].length];
            }
            int[] distances = new int[codes.length];
            for (int q = 0; q < count; q++) {
                long[][] words = words(weights, queries[q]).words();
                for (int p = 0; p < distances.length; p++) {
                    int distance = 0;
                    for (int w = 0; w < scanned / 64; w++) {
                        long differ = codes[p][w] ^ words[0][w];
                        distance += Long.bitCount(differ & words[1][w]) + 2 * Long.bitCount(differ & words[2][w]);
                    }
                    distances[p] = p == own[q] ? Integer.MAX_VALUE : distance;
                }
                for (int some = 0; some < 3; some++) {
                    int step = some == 1 ? EVERY : 1;
                    int[] sorted = new int[-Math.floorDiv(-distances.length, step)];
                    for (int at = 0; at < sorted.length; at++) {
                        sorted[at] = distances[at * step];
                    }
                    Arrays.sort(sorted);
                    int k = best[some][q].length;
                    for (int i = 0; i < k; i++) {
                        ranks[some][q * k + i] = upTo(sorted, distances[best[some][q][i]]);
                    }
                }
            }
            for (int[] some : ranks) {
                Arrays.sort(some);
            }
            double whole = at(ranks[0], HELD);
            double exponent = EXPONENT;
            if (codes.length >= TELLS_FROM) {
                exponent = slope(ranks[1], ranks[0], EVERY) + STEEPER;
                exponent = Math.min(Math.max(exponent, LEAST_EXPONENT), 1);
            }
            double growth = slope(ranks[0], ranks[2], (double) MANY / K);
            growth = Math.min(Math.max(growth, LEAST_GROWTH), 1);
            double factor = whole / (Math.pow(codes.length, exponent) * Math.pow(K, growth));
            return new Reach(factor, exponent, growth);
        }

        /** The rank up to which a share of sorted ranks is. */
        private static int at(int[] ranks, double share) {
            return ranks[(int) Math.ceil(share * ranks.length) - 1];
        }

        /** The e where ranks grow as {@code times} ^ e, on average. */
        private static double slope(int[] small, int[] large, double times) {
            double sum = 0;
            for (double share : TYPICAL) {
                sum += Math.log((double) at(large, share) / at(small, share));
            }
            return sum / (TYPICAL.length * Math.log(times));
        }

        /** How many of the sorted numbers are {@code most} or less. */
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
}
