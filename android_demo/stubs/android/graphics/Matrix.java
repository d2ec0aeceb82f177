package android.graphics;

public class Matrix {
    public Matrix() {}
    public native void mapPoints(float[] points);
    public native boolean mapRect(RectF rectangle);
    public native boolean invert(Matrix inverse);
    public native void setScale(float x, float y);
    public native boolean postTranslate(float x, float y);
    public native boolean postScale(float x, float y);
    public native boolean postRotate(float degrees);
}
