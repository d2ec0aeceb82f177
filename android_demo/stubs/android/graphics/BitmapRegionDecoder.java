package android.graphics;

public class BitmapRegionDecoder {
    public static native BitmapRegionDecoder newInstance(java.io.InputStream in, boolean shares) throws java.io.IOException;
    public native Bitmap decodeRegion(Rect part, BitmapFactory.Options options);
    public native int getWidth();
    public native int getHeight();
    public native void recycle();
}
