package android.graphics;

public class Matrix {
    public Matrix() {}
    public native boolean postScale(float x, float y);
    public native boolean postRotate(float degrees);
}
