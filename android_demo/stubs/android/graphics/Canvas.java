package android.graphics;

public class Canvas {
    public native void drawBitmap(Bitmap bitmap, Rect from, RectF to, Paint paint);
    public native void drawPath(Path path, Paint paint);
}
