package io.github.mcadmobile.platform;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.BitmapRegionDecoder;
import android.graphics.Matrix;
import android.graphics.Rect;
import android.graphics.RectF;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;

/** Decodes parts of a JPEG, PNG or WebP photo, upright. Android keeps the file in memory until {@link #close}. */
public final class PhotoRegions implements Closeable {
    private final BitmapRegionDecoder decoder;
    private final int orientation;
    /** From the upright photo, 1 by 1, to pixels of the file. */
    private final Matrix toFile = new Matrix();
    private final float width;

    private PhotoRegions(BitmapRegionDecoder decoder, int orientation) {
        this.decoder = decoder;
        this.orientation = orientation;
        RectF upright = new RectF(0, 0, decoder.getWidth(), decoder.getHeight());
        Matrix turn = BitmapDecoder.turn(orientation);
        turn.mapRect(upright);
        turn.postTranslate(-upright.left, -upright.top);
        turn.postScale(1 / upright.width(), 1 / upright.height());
        turn.invert(toFile);
        width = upright.width();
    }

    /** IOException if Android cannot decode parts of such a file. */
    @SuppressWarnings("deprecation") // its replacement came with Android 12
    public static PhotoRegions open(PhotoDecoder.Source source) throws IOException {
        if (!BitmapDecoder.isExif(source)) {
            throw new McadException("Only JPEG, PNG and WebP photos are decoded in parts.", "Show the whole photo.");
        }
        int orientation = BitmapDecoder.orientation(source);
        try (InputStream in = source.open()) {
            return new PhotoRegions(BitmapRegionDecoder.newInstance(in, false), orientation);
        }
    }

    /** The upright photo's width in pixels. */
    public float width() {
        return width;
    }

    /**
     * Decode a part of the upright photo for {@code pixels} of a screen's width: the bitmap has up to twice as many.
     *
     * @param part fractions of the photo's sides
     */
    public Bitmap decode(RectF part, int pixels) throws IOException {
        RectF area = new RectF(part);
        toFile.mapRect(area);
        Rect whole = new Rect();
        area.roundOut(whole);
        if (!whole.intersect(0, 0, decoder.getWidth(), decoder.getHeight())) {
            throw new McadException("The part is outside the photo.", "Ask for a part of it.");
        }
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inSampleSize = PhotoDecoder.displayReduction((int) (part.width() * width), 0, pixels);
        return BitmapDecoder.turned(decoder.decodeRegion(whole, options), orientation);
    }

    @Override
    public void close() {
        decoder.recycle();
    }
}
