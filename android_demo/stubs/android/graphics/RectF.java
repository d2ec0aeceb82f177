package android.graphics;

public class RectF {
    public float left;
    public float top;
    public float right;
    public float bottom;
    public RectF() {}
    public RectF(RectF other) {}
    public RectF(float left, float top, float right, float bottom) {}
    public native void set(RectF other);
    public final native float width();
    public final native float height();
    public native void roundOut(Rect around);
}
