package mcad.engine.photos;

import java.util.Arrays;

/**
 * Resizes bit for bit as Pillow does (src/libImaging/Resample.c): two passes of a filter that widens as the photo
 * shrinks, in fixed point, rounded to bytes between the passes.
 */
final class Resize {
    /** A resampling kernel: its half width, and its weight at a distance. */
    enum Filter {
        BILINEAR(1.0), BICUBIC(2.0);

        final double support;

        Filter(double support) {
            this.support = support;
        }

        double at(double distance) {
            double x = Math.abs(distance);
            if (this == BILINEAR) {
                return x < 1 ? 1 - x : 0;
            }
            double a = -0.5;
            if (x < 1) {
                return ((a + 2) * x - (a + 3)) * x * x + 1;
            }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
        }
    }

    private static final int PRECISION = 32 - 8 - 2;
    private static final int CHANNELS = 3;

    private Resize() {}

    /** Pixels [height, width, 3], interleaved bytes. */
    record Rgb(int width, int height, byte[] bytes) {}

    /** A photo on white, resized to {@code width} x {@code height}, without applying its orientation. */
    static Rgb resize(Photo photo, int width, int height, Filter filter) {
        Taps across = new Taps(photo.width(), width, filter);
        Taps down = new Taps(photo.height(), height, filter);
        int[] row = new int[photo.width()];
        int stride = width * CHANNELS;
        byte[] narrow = new byte[photo.height() * stride];
        for (int y = 0; y < photo.height(); y++) {
            photo.readRow(y, row);
            overWhite(row);
            across(row, across, narrow, y * stride);
        }
        return new Rgb(width, height, down(narrow, down, stride));
    }

    private static void across(int[] row, Taps taps, byte[] out, int at) {
        int to = at;
        for (int x = 0; x < taps.size; x++) {
            int first = taps.first[x];
            int red = 1 << PRECISION - 1;
            int green = red;
            int blue = red;
            for (int k = 0; k < taps.count[x]; k++) {
                int weight = taps.weights[x * taps.width + k];
                int pixel = row[first + k];
                red += (pixel >> 16 & 0xff) * weight;
                green += (pixel >> 8 & 0xff) * weight;
                blue += (pixel & 0xff) * weight;
            }
            out[to++] = clipped(red);
            out[to++] = clipped(green);
            out[to++] = clipped(blue);
        }
    }

    private static byte[] down(byte[] in, Taps taps, int stride) {
        byte[] out = new byte[taps.size * stride];
        int[] sums = new int[stride];
        for (int y = 0; y < taps.size; y++) {
            Arrays.fill(sums, 1 << PRECISION - 1);
            for (int k = 0; k < taps.count[y]; k++) {
                int weight = taps.weights[y * taps.width + k];
                int from = (taps.first[y] + k) * stride;
                for (int i = 0; i < stride; i++) {
                    sums[i] += (in[from + i] & 0xff) * weight;
                }
            }
            for (int i = 0; i < stride; i++) {
                out[y * stride + i] = clipped(sums[i]);
            }
        }
        return out;
    }

    private static byte clipped(int sum) {
        int value = sum >> PRECISION;
        return (byte) (value < 0 ? 0 : Math.min(value, 255));
    }

    /** Pillow's alpha_composite over opaque white, in its own fixed point. */
    private static void overWhite(int[] row) {
        for (int i = 0; i < row.length; i++) {
            int alpha = row[i] >>> 24;
            if (alpha != 255) {
                row[i] = 0xFF000000 | over(row[i] >> 16 & 0xff, alpha) << 16 | over(row[i] >> 8 & 0xff, alpha) << 8
                    | over(row[i] & 0xff, alpha);
            }
        }
    }

    private static int over(int value, int alpha) {
        int sum = (value * alpha << 7) + (255 * (255 - alpha) << 7) + (0x80 << 7);
        return (sum >> 8) + sum >> 8 >> 7;
    }

    /** The input pixels and weights of each output pixel. */
    private static final class Taps {
        final int size;
        final int width;
        final int[] first;
        final int[] count;
        final int[] weights;

        Taps(int in, int out, Filter filter) {
            double scale = (double) in / out;
            double stretch = Math.max(scale, 1);
            double support = filter.support * stretch;
            size = out;
            width = (int) Math.ceil(support) * 2 + 1;
            first = new int[out];
            count = new int[out];
            weights = new int[out * width];
            double[] exact = new double[width];
            for (int x = 0; x < out; x++) {
                double center = (x + 0.5) * scale;
                first[x] = Math.max((int) (center - support + 0.5), 0);
                count[x] = Math.min((int) (center + support + 0.5), in) - first[x];
                double sum = 0;
                for (int k = 0; k < count[x]; k++) {
                    exact[k] = filter.at((k + first[x] - center + 0.5) * (1 / stretch));
                    sum += exact[k];
                }
                for (int k = 0; k < count[x]; k++) {
                    double weight = exact[k] / sum * (1 << PRECISION);
                    weights[x * width + k] = (int) (weight < 0 ? weight - 0.5 : weight + 0.5);
                }
            }
        }
    }
}
