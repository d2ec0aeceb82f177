package mcad.engine;

import java.io.IOException;
import java.io.InputStream;

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
}
