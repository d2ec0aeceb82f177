package android.view;

public final class MotionEvent {
    public native float getX();
    public native float getY();
}
