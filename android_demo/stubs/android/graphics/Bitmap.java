package android.graphics;

import io.github.mcadmobile.stubs.Unset;

public class Bitmap {
    public static native Bitmap createBitmap(Bitmap source, int x, int y, int width, int height, Matrix turn, boolean filter);
    public native int getWidth();
    public native int getHeight();
    public native void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
    public final native int getByteCount();
    public native boolean hasGainmap();
    public native void recycle();

    public static class Config {
        public static final Config ARGB_8888 = Unset.object();
    }
}
