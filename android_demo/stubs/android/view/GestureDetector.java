package android.view;

public class GestureDetector {
    public GestureDetector(android.content.Context context, OnGestureListener listener) {}
    public native boolean onTouchEvent(MotionEvent event);

    public interface OnGestureListener {
        boolean onDown(MotionEvent event);
        boolean onScroll(MotionEvent from, MotionEvent to, float x, float y);
        boolean onFling(MotionEvent from, MotionEvent to, float x, float y);
    }

    public static class SimpleOnGestureListener implements OnGestureListener {
        public SimpleOnGestureListener() {}
        public native boolean onDown(MotionEvent event);
        public native boolean onScroll(MotionEvent from, MotionEvent to, float x, float y);
        public native boolean onFling(MotionEvent from, MotionEvent to, float x, float y);
        public native boolean onSingleTapConfirmed(MotionEvent event);
        public native boolean onDoubleTap(MotionEvent event);
    }
}
