package mcad.engine;

import java.io.IOException;

/**
 * Photo to pixels [3, size, size] float32, planar: upright, over white, resized, then (value / 255 - mean) / std for
 * each of R, G, B. The reference is mcad_mobile/preprocess.py.
 */
public final class Preprocess {
    private static final String UPDATE = "Update the app, or export the bundle again.";

    public final int size;
    private final boolean squash;
    private final Resize.Filter filter;
    private final float[][] normalized = new float[3][256];

    private Preprocess(int size, boolean squash, Resize.Filter filter) {
        this.size = size;
        this.squash = squash;
        this.filter = filter;
    }

    static Preprocess of(JsonFields data) throws McadException {
        String resize = data.string("resize");
        if (!resize.equals("squash") && !resize.equals("shortest")) {
            throw new McadException("Resize '" + resize + "' is not squash or shortest.", UPDATE);
        }
        String interpolation = data.string("interpolation");
        if (!interpolation.equals("bilinear") && !interpolation.equals("bicubic")) {
            throw new McadException("Interpolation '" + interpolation + "' is not bilinear or bicubic.", UPDATE);
        }
        Preprocess made = new Preprocess(data.integer("size", 1, 4096), resize.equals("squash"),
            interpolation.equals("bilinear") ? Resize.Filter.BILINEAR : Resize.Filter.BICUBIC);
        for (int channel = 0; channel < 3; channel++) {
            float mean = data.list("mean", Number.class).get(channel).floatValue();
            float std = data.list("std", Number.class).get(channel).floatValue();
            for (int value = 0; value < 256; value++) {
                made.normalized[channel][value] = (value / 255f - mean) / std;
            }
        }
        return made;
    }

    /** A photo file to pixels; closes what it opens. */
    public float[] pixels(PhotoDecoder decoder, PhotoDecoder.Source source) throws IOException {
        try (Photo photo = decoder.decode(source, size)) {
            return pixels(photo);
        }
    }

    /** A decoded photo to pixels. */
    public float[] pixels(Photo photo) {
        int width = size;
        int height = size;
        if (!squash) {
            double scale = (double) size / Math.min(photo.width(), photo.height());
            width = (int) Math.rint(photo.width() * scale);
            height = (int) Math.rint(photo.height() * scale);
        }
        // Turned after it has shrunk: a few thousand pixels instead of millions.
        Resize.Rgb small = upright(Resize.resize(photo, width, height, filter), photo.orientation());
        int left = (small.width() - size) / 2;
        int top = (small.height() - size) / 2;
        float[] pixels = new float[3 * size * size];
        for (int y = 0; y < size; y++) {
            int from = ((top + y) * small.width() + left) * 3;
            for (int x = 0; x < size; x++) {
                for (int channel = 0; channel < 3; channel++) {
                    int value = small.bytes()[from++] & 0xff;
                    pixels[(channel * size + y) * size + x] = normalized[channel][value];
                }
            }
        }
        return pixels;
    }

    /** Mirror and turn by the eight EXIF orientations. */
    private static Resize.Rgb upright(Resize.Rgb rgb, int orientation) {
        if (orientation <= 1) {
            return rgb;
        }
        boolean turned = orientation >= 5;
        int width = turned ? rgb.height() : rgb.width();
        int height = turned ? rgb.width() : rgb.height();
        byte[] out = new byte[rgb.bytes().length];
        int to = 0;
        for (int y = 0; y < height; y++) {
            for (int x = 0; x < width; x++) {
                int column = turned ? y : x;
                int row = turned ? x : y;
                // Bit tables of which orientations read their columns, their rows, from the end.
                if ((1 << orientation & (1 << 2 | 1 << 3 | 1 << 7 | 1 << 8)) != 0) {
                    column = rgb.width() - 1 - column;
                }
                if ((1 << orientation & (1 << 3 | 1 << 4 | 1 << 6 | 1 << 7)) != 0) {
                    row = rgb.height() - 1 - row;
                }
                System.arraycopy(rgb.bytes(), (row * rgb.width() + column) * 3, out, to, 3);
                to += 3;
            }
        }
        return new Resize.Rgb(width, height, out);
    }
}
