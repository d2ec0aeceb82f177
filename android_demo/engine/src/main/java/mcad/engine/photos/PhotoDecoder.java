package mcad.engine.photos;

import java.io.IOException;
import java.io.InputStream;
import mcad.engine.McadException;

/** Decodes photo files: BufferedImage on a JVM, Bitmap on Android. */
public interface PhotoDecoder {
    /** A photo file that can be opened more than once: for its size, its orientation and its pixels. */
    interface Source {
        InputStream open() throws IOException;
    }

    /**
     * Decode a photo. A JPEG may be decoded at {@link #reduction} of its size. IOException, or McadException with the
     * reason, if it cannot be decoded.
     */
    Photo decode(Source source, int atLeast) throws IOException;

    /**
     * Grows when files of a kind ("image/heic") come out otherwise than before, so that what was embedded of them is
     * embedded again; 0 for kinds that never did.
     */
    default int revision(String kind) {
        return 0;
    }

    /**
     * By which of 1, 2, 4, 8 a JPEG of this size may be reduced as it is decoded, so that both sides keep
     * twice {@code atLeast} pixels. The rule of Pillow's `Image.draft`, which the reference uses.
     */
    static int reduction(int width, int height, int atLeast) {
        if (atLeast <= 0) {
            return 1;
        }
        int scale = Math.min(width / (2 * atLeast), height / (2 * atLeast));
        return scale >= 8 ? 8 : scale >= 4 ? 4 : scale >= 2 ? 2 : 1;
    }

    /**
     * By which power of two a photo must be reduced as it is decoded to have no more than {@code mostPixels}, for a
     * decoder that leaves pixels out as it reduces: so little as memory asks for.
     */
    static int sampling(int width, int height, long mostPixels) {
        int scale = 1;
        while ((long) (width / scale) * (height / scale) > mostPixels) {
            scale *= 2;
        }
        return scale;
    }

    /**
     * By which power of two a photo is reduced to be shown on {@code side} pixels: its longer side keeps less than
     * twice as many (a bitmap of 4 * side * side pixels at most), and as many at least where the photo has them.
     */
    static int displayReduction(int width, int height, int side) {
        int scale = 1;
        while (Math.max(width, height) / scale >= 2 * side) {
            scale *= 2;
        }
        return scale;
    }
}
