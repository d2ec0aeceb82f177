package android.app;

public class ActivityOptions {
    public static native ActivityOptions makeScaleUpAnimation(android.view.View from, int x, int y, int width, int height);
    public native android.os.Bundle toBundle();
}
