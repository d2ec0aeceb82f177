package android.view;

public class ScaleGestureDetector {
    public ScaleGestureDetector(android.content.Context context, OnScaleGestureListener listener) {}
    public native boolean onTouchEvent(MotionEvent event);
    public native float getScaleFactor();
    public native float getFocusX();
    public native float getFocusY();

    public interface OnScaleGestureListener {
        boolean onScale(ScaleGestureDetector fingers);
    }

    public static class SimpleOnScaleGestureListener implements OnScaleGestureListener {
        public SimpleOnScaleGestureListener() {}
        public native boolean onScale(ScaleGestureDetector fingers);
    }
}
