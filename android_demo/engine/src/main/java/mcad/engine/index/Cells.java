package mcad.engine.index;

import java.util.Arrays;
import java.util.List;
import mcad.engine.base.Vectors;

/**
 * Cells of nearby photos in a segment (docs/index-format.md): their centroids, int16 [count][dim], in steps of 2^-11 of
 * a photo's rotated residual. All sums are of integers, and exact.
 */
final class Cells {
    static final int MOST = 65_535;
    static final int STEPS = 2048;
    private static final int ROUNDS = 8;
    /** Over this many dimensions, a sum of products of steps and int16 fits in an int. */
    private static final int BLOCK = 512;

    final int count;
    private final int dim;
    private final short[] centroids;
    /** The centroids as ints [count][dim]: a JVM and Android vectorize products of ints. */
    private final int[][] wide;

    Cells(short[] centroids, int dim) {
        this.centroids = centroids;
        this.dim = dim;
        count = centroids.length / dim;
        wide = new int[count][dim];
        for (int at = 0; at < centroids.length; at++) {
            wide[at / dim][at % dim] = centroids[at];
        }
    }

    /** Find {@code count} cells by k-means over the residuals of a sample of rotated embeddings. */
    static Cells of(List<float[]> sample, float[] axis, int count) {
        int dim = axis.length;
        short[] centroids = new short[count * dim];
        int[] steps = new int[dim];
        for (int c = 0; c < count; c++) {
            residual(sample.get(c * (sample.size() / count)), axis, steps);
            for (int i = 0; i < dim; i++) {
                centroids[c * dim + i] = (short) steps[i];
            }
        }
        for (int round = 0; round < ROUNDS; round++) {
            Cells cells = new Cells(centroids, dim);
            long[] sums = new long[centroids.length];
            int[] photos = new int[count];
            Nearest nearest = cells.new Nearest();
            for (float[] photo : sample) {
                residual(photo, axis, steps);
                int cell = nearest.to(steps);
                photos[cell]++;
                for (int i = 0; i < dim; i++) {
                    sums[cell * dim + i] += steps[i];
                }
            }
            for (int at = 0; at < centroids.length; at++) {
                int of = photos[at / dim];
                if (of > 0) {
                    centroids[at] = (short) Math.rint((double) sums[at] / of);
                }
            }
        }
        return new Cells(centroids, dim);
    }

    /** The residual of a rotated embedding, in integer steps. */
    static void residual(float[] x, float[] axis, int[] steps) {
        float projection = (float) Vectors.dot(x, axis);
        for (int i = 0; i < steps.length; i++) {
            steps[i] = (int) Math.rint((double) (x[i] - projection * axis[i]) * STEPS);
        }
    }

    /** The cell of each rotated embedding. */
    int[] of(List<float[]> photos, float[] axis) {
        int[] found = new int[photos.size()];
        int[] steps = new int[dim];
        Nearest nearest = new Nearest();
        for (int p = 0; p < found.length; p++) {
            residual(photos.get(p), axis, steps);
            found[p] = nearest.to(steps);
        }
        return found;
    }

    /** The centroids as stored in a file, [count][dim]. */
    short[] centroids() {
        return centroids;
    }

    boolean isSame(Cells other) {
        return other != null && Arrays.equals(centroids, other.centroids);
    }

    /** All cells, in the order in which a rotated query probes them. */
    int[] order(float[] rotated) {
        int[] steps = new int[dim];
        for (int i = 0; i < dim; i++) {
            steps[i] = (int) Math.rint((double) rotated[i] * STEPS);
        }
        long[] keys = new long[count];
        for (int c = 0; c < count; c++) {
            keys[c] = -product(steps, wide[c]) << 16 | c; // ties: the lower number first
        }
        Arrays.sort(keys);
        int[] order = new int[count];
        for (int c = 0; c < count; c++) {
            order[c] = (int) keys[c] & 0xffff;
        }
        return order;
    }

    private static long product(int[] steps, int[] centroid) {
        long product = 0;
        for (int start = 0; start < steps.length; start += BLOCK) {
            int sum = 0;
            for (int i = start; i < Math.min(steps.length, start + BLOCK); i++) {
                sum += steps[i] * centroid[i];
            }
            product += sum;
        }
        return product;
    }

    /** Finds the nearest cell of a photo. */
    final class Nearest {
        private final long[] halves = new long[count];

        Nearest() {
            for (int at = 0; at < centroids.length; at++) {
                halves[at / dim] += (long) centroids[at] * centroids[at];
            }
            for (int c = 0; c < count; c++) {
                halves[c] >>= 1;
            }
        }

        /** The cell of a residual in steps; the lowest number in a tie. */
        int to(int[] steps) {
            int best = 0;
            long most = Long.MIN_VALUE;
            for (int c = 0; c < count; c++) {
                long near = product(steps, wide[c]) - halves[c];
                if (near > most) {
                    most = near;
                    best = c;
                }
            }
            return best;
        }
    }
}
