package io.github.mcadmobile.engine.photos;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.NativeLibrary;

/**
 * Resizes bit for bit as Pillow does (src/libImaging/Resample.c): two passes of a filter that widens as the photo
 * shrinks, in fixed point, rounded to bytes between the passes.
 */
public final class Resize {
    /** A resampling kernel: its half width, and its weight at a distance. */
    public enum Filter {
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
    public record Rgb(int width, int height, byte[] bytes) implements Photo {
        @Override
        public void readRow(int y, int[] argb) {
            for (int x = 0, at = 3 * y * width; x < width; x++, at += 3) {
                argb[x] = 0xFF000000 | (bytes[at] & 0xFF) << 16 | (bytes[at + 1] & 0xFF) << 8 | bytes[at + 2] & 0xFF;
            }
        }

        @Override
        public int orientation() {
            return 1;
        }

        /** Mirrored and turned by one of the eight EXIF orientations. */
        public Rgb upright(int orientation) {
            if (orientation <= 1) {
                return this;
            }
            int degrees = Exif.degrees(orientation);
            boolean turned = degrees % 180 != 0;
            boolean columnsFromEnd = degrees >= 180 != Exif.mirrored(orientation);
            boolean rowsFromEnd = degrees == 90 || degrees == 180;
            byte[] out = new byte[bytes.length];
            int to = 0;
            for (int y = 0; y < (turned ? width : height); y++) {
                for (int x = 0; x < (turned ? height : width); x++) {
                    int column = turned ? y : x;
                    int row = turned ? x : y;
                    column = columnsFromEnd ? width - 1 - column : column;
                    row = rowsFromEnd ? height - 1 - row : row;
                    System.arraycopy(bytes, (row * width + column) * 3, out, to, 3);
                    to += 3;
                }
            }
            return turned ? new Rgb(height, width, out) : new Rgb(width, height, out);
        }
    }

    /** A photo on white, resized to {@code width} x {@code height}, without applying its orientation. */
    public static Rgb resize(Photo photo, int width, int height, Filter filter) throws McadException {
        NativeLibrary.load();
        Taps across = new Taps(photo.width(), width, filter);
        Taps down = new Taps(photo.height(), height, filter);
        int[] row = new int[photo.width()];
        int stride = width * CHANNELS;
        byte[] narrow = new byte[photo.height() * stride];
        for (int y = 0; y < photo.height(); y++) {
            photo.readRow(y, row);
            row(row, across.first, across.count, across.weights, narrow, y * stride);
        }
        byte[] small = new byte[height * stride];
        columns(narrow, stride, down.first, down.count, down.weights, small);
        return new Rgb(width, height, small);
    }

    /** Resize a row of pixels over white, and write it to {@code rgb} at {@code start}. */
    static native void row(int[] argb, int[] first, int[] count, int[] weights, byte[] rgb, int start);

    /** Resize the height of rows of {@code stride} bytes. */
    static native void columns(byte[] rows, int stride, int[] first, int[] count, int[] weights, byte[] out);

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
