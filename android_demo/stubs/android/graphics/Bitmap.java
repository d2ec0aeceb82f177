package android.graphics;

public class Bitmap {
    public native int getWidth();
    public native int getHeight();
    public native void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height);
    public final native int getByteCount();
    public native void recycle();

    public enum Config { ARGB_8888 }
}
