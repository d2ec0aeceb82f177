package io.github.mcadmobile.platform;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.ColorSpace;
import android.graphics.ImageDecoder;
import android.graphics.Matrix;
import android.os.Build;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Exif;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoBytes;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.IOException;
import java.io.InputStream;

/**
 * Decodes the formats of this Android version: JPEG, PNG, WebP, HEIC, AVIF and more.
 *
 * <p>BitmapFactory decodes JPEG, PNG and WebP, and {@link Exif} gives their orientation: the same on every version, and
 * as in the reference. The orientation of HEIC and AVIF is in a box of the container, which BitmapFactory ignores, so
 * from Android 9 on ImageDecoder decodes all other formats, upright.
 */
public final class BitmapDecoder implements PhotoDecoder {
    /** 64 MiB as a bitmap. */
    private static final long MOST_PIXELS = 1L << 24;
    private static final boolean HAS_IMAGE_DECODER = Build.VERSION.SDK_INT >= Build.VERSION_CODES.P;

    @Override
    public Photo decode(Source source, int atLeast) throws IOException {
        if (HAS_IMAGE_DECODER && !isExif(source)) {
            return new Decoded(upright(source, 0, atLeast), 1);
        }
        int orientation = orientation(source);
        BitmapFactory.Options options = bounds(source);
        // Only the JPEG decoder averages pixels as it reduces; others drop them.
        boolean jpeg = "image/jpeg".equals(options.outMimeType);
        int reduction = jpeg ? PhotoDecoder.reduction(options.outWidth, options.outHeight, atLeast) : 1;
        options.inSampleSize =
            Math.max(reduction, PhotoDecoder.sampling(options.outWidth, options.outHeight, MOST_PIXELS));
        options.inPreferredConfig = Bitmap.Config.ARGB_8888;
        options.inPreferredColorSpace = ColorSpace.get(ColorSpace.Named.SRGB);
        options.inPremultiplied = false;
        return new Decoded(whole(read(source, options)), orientation);
    }

    /** Before ImageDecoder was used, HEIC and AVIF photos were decoded without rotation. */
    @Override
    public int revision(String kind) {
        boolean turned = "image/heic".equals(kind) || "image/heif".equals(kind) || "image/avif".equals(kind);
        return turned && HAS_IMAGE_DECODER ? 1 : 0;
    }

    /**
     * Decode an upright photo for display, its longer side {@code side} to twice that in pixels. IOException, or
     * McadException with the reason, if it cannot be decoded.
     */
    public static Bitmap show(Source source, int side) throws IOException {
        if (HAS_IMAGE_DECODER && !isExif(source)) {
            return upright(source, side, 0);
        }
        int orientation = orientation(source);
        BitmapFactory.Options options = bounds(source);
        options.inSampleSize = PhotoDecoder.displayReduction(options.outWidth, options.outHeight, side);
        return turned(whole(read(source, options)), orientation);
    }

    static boolean isExif(Source source) throws IOException {
        try (InputStream in = source.open()) {
            return Exif.isRead(in);
        }
    }

    static int orientation(Source source) throws IOException {
        try (InputStream in = source.open()) {
            return Exif.orientation(in);
        }
    }

    /** Decode with ImageDecoder, in sRGB, with readable pixels; {@code side} is 0 if the photo is not for display. */
    private static Bitmap upright(Source source, int side, int atLeast) throws IOException {
        try {
            return ImageDecoder.decodeBitmap(imageSource(source), (decoder, info, from) -> {
                int width = info.getSize().getWidth();
                int height = info.getSize().getHeight();
                decoder.setAllocator(ImageDecoder.ALLOCATOR_SOFTWARE);
                decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB));
                decoder.setUnpremultipliedRequired(side == 0); // a canvas cannot draw one
                // Twice what a JPEG keeps: this decoder drops pixels, of which the finest detail alone is lost then.
                decoder.setTargetSampleSize(side != 0 ? PhotoDecoder.displayReduction(width, height, side)
                    : Math.max(PhotoDecoder.reduction(width, height, 2 * atLeast),
                        PhotoDecoder.sampling(width, height, MOST_PIXELS)));
            });
        } catch (OutOfMemoryError error) {
            throw tooLarge(error);
        }
    }

    /** Android maps the file instead of using the heap: a raw photo may have 100 MB. */
    private static ImageDecoder.Source imageSource(Source source) throws IOException {
        return source instanceof MediaPhotos.MediaSource media ? ImageDecoder.createSource(media.resolver(), media.uri())
            : ImageDecoder.createSource(PhotoBytes.whole(source));
    }

    private static BitmapFactory.Options bounds(Source source) throws IOException {
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        read(source, options);
        if (options.outWidth <= 0 || options.outHeight <= 0) {
            throw new McadException("The photo is damaged, or of a format that this phone cannot decode.",
                "Save it as JPEG, on this phone or another.");
        }
        options.inJustDecodeBounds = false;
        return options;
    }

    private static Bitmap read(Source source, BitmapFactory.Options options) throws IOException {
        try (InputStream in = source.open()) {
            return BitmapFactory.decodeStream(in, null, options);
        } catch (OutOfMemoryError error) {
            throw tooLarge(error);
        }
    }

    private static Bitmap whole(Bitmap bitmap) throws McadException {
        if (bitmap == null) {
            throw new McadException("The photo is damaged: it cannot be decoded.",
                "Restore it from a backup, or leave it out.");
        }
        return bitmap;
    }

    private static McadException tooLarge(OutOfMemoryError error) {
        return new McadException("The photo is too large for this phone's memory: " + error.getMessage() + ".",
            "Save a smaller copy of it.", error);
    }

    static Bitmap turned(Bitmap bitmap, int orientation) {
        return orientation <= 1 ? bitmap : Bitmap.createBitmap(
            bitmap, 0, 0, bitmap.getWidth(), bitmap.getHeight(), turn(orientation), true);
    }

    static Matrix turn(int orientation) {
        Matrix turn = new Matrix();
        if (Exif.mirrored(orientation)) {
            turn.postScale(-1, 1);
        }
        turn.postRotate(Exif.degrees(orientation));
        return turn;
    }

    record Decoded(Bitmap bitmap, int orientation) implements Photo {
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
