package android.util;

public final class Size {
    public Size(int width, int height) {}
    public native int getWidth();
    public native int getHeight();
}
