package android.graphics;

public class Canvas {
    public native void drawPath(Path path, Paint paint);
}
