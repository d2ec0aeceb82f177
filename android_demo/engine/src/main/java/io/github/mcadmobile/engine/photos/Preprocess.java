package io.github.mcadmobile.engine.photos;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.IOException;
import java.util.Arrays;
import java.util.Locale;

/**
 * Converts a photo to pixels [3, size, size] float32, planar: upright, on white, resized, then (value / 255 - mean) /
 * std for each of R, G, B. The reference is mcad_mobile/engine/photos/preprocess.py.
 */
public final class Preprocess {
    /** The longer side by the shorter one, as in mcad_mobile/engine/photos/decode.py. */
    private static final int MOST_ASPECT = 100;
    private static final String UPDATE = "Update the app, or export the bundle again.";

    private enum Scale { SQUASH, SHORTEST, LONGEST }

    public final int size;
    private final Scale scale;
    private final int resizeTo;
    private final boolean rounds;
    private final byte[] fill = new byte[3];
    private final Resize.Filter filter;
    private final float[][] normalized = new float[3][256];

    private Preprocess(JsonFields data, Scale scale, Resize.Filter filter) throws McadException {
        size = data.integer("size", 1, 4096);
        this.scale = scale;
        this.filter = filter;
        resizeTo = data.has("resize_to") ? data.integer("resize_to", size, 4096) : size;
        rounds = data.has("centre") && data.string("centre").equals("round");
        for (int channel = 0; data.has("fill") && channel < 3; channel++) {
            fill[channel] = data.list("fill", Number.class).get(channel).byteValue();
        }
    }

    public static Preprocess of(JsonFields data) throws McadException {
        Scale scale = constant(Scale.class, data.string("resize"), "Resize");
        Resize.Filter filter = constant(Resize.Filter.class, data.string("interpolation"), "Interpolation");
        Preprocess preprocess = new Preprocess(data, scale, filter);
        for (int channel = 0; channel < 3; channel++) {
            float mean = data.list("mean", Number.class).get(channel).floatValue();
            float std = data.list("std", Number.class).get(channel).floatValue();
            for (int value = 0; value < 256; value++) {
                preprocess.normalized[channel][value] = (value / 255f - mean) / std;
            }
        }
        return preprocess;
    }

    private static <E extends Enum<E>> E constant(Class<E> type, String name, String field) throws McadException {
        for (E constant : type.getEnumConstants()) {
            if (constant.name().toLowerCase(Locale.ROOT).equals(name)) {
                return constant;
            }
        }
        String known = Arrays.toString(type.getEnumConstants()).toLowerCase(Locale.ROOT);
        throw new McadException(field + " '" + name + "' is none of " + known + ".", UPDATE);
    }

    /** Decode and preprocess a photo file. */
    public float[] pixels(PhotoDecoder decoder, PhotoDecoder.Source source) throws IOException {
        try (Photo photo = decoder.decode(source, resizeTo)) {
            return pixels(photo);
        }
    }

    /** Preprocess a decoded photo, which stays open. McadException if it is extremely long. */
    public float[] pixels(Photo photo) throws McadException {
        if (Math.max(photo.width(), photo.height()) > MOST_ASPECT * Math.min(photo.width(), photo.height())) {
            throw new McadException("A photo has " + photo.width() + " x " + photo.height() + " pixels: a side is more than "
                + MOST_ASPECT + " times the other.", "Crop or split it.");
        }
        int[] scaled = scaled(photo.width(), photo.height());
        // Rotate after shrinking: a few thousand pixels instead of millions.
        Resize.Rgb small = Resize.resize(photo, scaled[0], scaled[1], filter).upright(photo.orientation());
        int left = start(small.width() - size);
        int top = start(small.height() - size);
        float[] pixels = new float[3 * size * size];
        for (int y = 0; y < size; y++) {
            for (int x = 0; x < size; x++) {
                int column = left + x;
                int row = top + y;
                boolean inside = column >= 0 && column < small.width() && row >= 0 && row < small.height();
                byte[] from = inside ? small.bytes() : fill;
                int at = inside ? (row * small.width() + column) * 3 : 0;
                for (int channel = 0; channel < 3; channel++) {
                    pixels[(channel * size + y) * size + x] = normalized[channel][from[at + channel] & 0xff];
                }
            }
        }
        return pixels;
    }

    /** The width and height that a photo is resized to. */
    private int[] scaled(int width, int height) {
        switch (scale) {
            case SQUASH:
                return new int[] {resizeTo, resizeTo};
            case LONGEST:
                double ratio = Math.max((double) height / resizeTo, (double) width / resizeTo);
                return new int[] {Math.max(1, (int) Math.rint(width / ratio)),
                    Math.max(1, (int) Math.rint(height / ratio))};
            default:
                int longer = (int) ((double) ((long) resizeTo * Math.max(width, height)) / Math.min(width, height));
                return width <= height ? new int[] {resizeTo, longer} : new int[] {longer, resizeTo};
        }
    }

    /** The offset of the square in an image {@code spare} pixels larger; negative if it is smaller. */
    private int start(int spare) {
        if (spare < 0) {
            return -(-spare / 2);
        }
        return rounds ? (int) Math.rint(spare / 2.0) : spare / 2;
    }
}
