package android.graphics;

public class Rect {
    public Rect() {}
    public native boolean intersect(int left, int top, int right, int bottom);
}
