package io.github.mcadmobile.engine.photos;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.io.InputStream;

/** Decodes photo files: BufferedImage on a JVM, Bitmap on Android. */
public interface PhotoDecoder {
    /** A photo file that can be opened repeatedly: for its size, its orientation and its pixels. */
    interface Source {
        InputStream open() throws IOException;
    }

    /**
     * Decode a photo, which may be decoded at {@link #reduction} of its size. IOException, or McadException with the
     * reason, if it cannot be decoded.
     */
    Photo decode(Source source, int atLeast) throws IOException;

    /**
     * A number per MIME type ("image/heic") that grows when its files decode differently than before, so that they are
     * embedded again; 0 if that never happened.
     */
    default int revision(String kind) {
        return 0;
    }

    /**
     * The factor (1, 2, 4 or 8) by which decoding may reduce a JPEG of this size so that both sides keep at least twice
     * {@code atLeast} pixels: the rule of Pillow's `Image.draft`, which the reference uses.
     */
    static int reduction(int width, int height, int atLeast) {
        if (atLeast <= 0) {
            return 1;
        }
        int scale = Math.min(width / (2 * atLeast), height / (2 * atLeast));
        return scale >= 8 ? 8 : scale >= 4 ? 4 : scale >= 2 ? 2 : 1;
    }

    /**
     * The smallest power of two by which a photo must be reduced to have at most {@code mostPixels}, for a decoder that
     * subsamples, and so loses quality.
     */
    static int sampling(int width, int height, long mostPixels) {
        int scale = 1;
        while ((long) (width / scale) * (height / scale) > mostPixels) {
            scale *= 2;
        }
        return scale;
    }

    /**
     * The power of two by which to reduce a photo shown on {@code side} pixels: its longer side keeps less than twice
     * that many (a bitmap of at most 4 * side * side pixels), and at least that many if the photo has them.
     */
    static int displayReduction(int width, int height, int side) {
        int scale = 1;
        while (Math.max(width, height) / scale >= 2 * side) {
            scale *= 2;
        }
        return scale;
    }
}
