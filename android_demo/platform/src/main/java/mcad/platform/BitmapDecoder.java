package mcad.platform;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import java.io.IOException;
import java.io.InputStream;
import mcad.engine.Exif;
import mcad.engine.McadException;
import mcad.engine.Photo;
import mcad.engine.PhotoDecoder;

/** Decodes what Android decodes: JPEG, PNG, WebP, HEIC, AVIF and more, as the version of Android has them. */
public final class BitmapDecoder implements PhotoDecoder {
    /** 64 MiB as a bitmap. */
    private static final long MOST_PIXELS = 1L << 24;

    @Override
    public Photo decode(Source source, int atLeast) throws IOException {
        int orientation;
        try (InputStream in = source.open()) {
            orientation = Exif.orientation(in);
        }
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        read(source, options);
        if (options.outWidth <= 0 || options.outHeight <= 0) {
            throw new McadException("The photo is of a kind that this phone does not decode.", "");
        }
        // Only JPEG averages as it reduces; other decoders leave pixels out.
        boolean jpeg = "image/jpeg".equals(options.outMimeType);
        int reduction = jpeg ? PhotoDecoder.reduction(options.outWidth, options.outHeight, atLeast) : 1;
        options.inSampleSize =
            Math.max(reduction, PhotoDecoder.sampling(options.outWidth, options.outHeight, MOST_PIXELS));
        options.inJustDecodeBounds = false;
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPremultiplied = false;
        Bitmap bitmap = read(source, options);
        if (bitmap == null) {
            throw new McadException("The photo is damaged: it cannot be decoded.", "");
        }
        return new Decoded(bitmap, orientation);
    }

    private static Bitmap read(Source source, BitmapFactory.Options options) throws IOException {
        try (InputStream in = source.open()) {
            return BitmapFactory.decodeStream(in, null, options);
        } catch (OutOfMemoryError error) {
            throw new McadException("The photo is too large for this phone's memory.", "", error);
        }
    }

    private record Decoded(Bitmap bitmap, int orientation) implements Photo {
        @Override
        public int width() {
            return bitmap.getWidth();
        }

        @Override
        public int height() {
            return bitmap.getHeight();
        }

        @Override
        public void readRow(int y, int[] argb) {
            bitmap.getPixels(argb, 0, width(), 0, y, width(), 1);
        }

        @Override
        public void close() {
            bitmap.recycle();
        }
    }
}
