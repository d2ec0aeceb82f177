package io.github.mcadmobile.robolectric;

import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.BitmapRegionDecoder;
import android.graphics.Rect;
import java.io.InputStream;
import org.robolectric.annotation.Implementation;
import org.robolectric.annotation.Implements;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.util.ReflectionHelpers;

/** Cuts parts out of the whole photo: Robolectric's own returns empty bitmaps. */
@Implements(BitmapRegionDecoder.class)
public final class ShadowRegionDecoder {
    private Bitmap whole;

    @Implementation
    protected static BitmapRegionDecoder newInstance(InputStream in, boolean shareable) {
        BitmapRegionDecoder made = ReflectionHelpers.callConstructor(
            BitmapRegionDecoder.class, ReflectionHelpers.ClassParameter.from(long.class, 1L));
        Shadow.<ShadowRegionDecoder>extract(made).whole = BitmapFactory.decodeStream(in);
        return made;
    }

    @Implementation
    protected int getWidth() {
        return whole.getWidth();
    }

    @Implementation
    protected int getHeight() {
        return whole.getHeight();
    }

    @Implementation
    protected Bitmap decodeRegion(Rect part, BitmapFactory.Options options) {
        int reduction = Math.max(1, options.inSampleSize);
        Bitmap cut = Bitmap.createBitmap(whole, part.left, part.top, part.width(), part.height());
        return Bitmap.createScaledBitmap(cut, part.width() / reduction, part.height() / reduction, true);
    }

    @Implementation
    protected void recycle() {
        whole.recycle();
    }
}
