package android.os;

public class Handler {
    public Handler(Looper looper) {}
    public final native boolean post(Runnable task);
    public final native boolean postDelayed(Runnable task, long ms);
    public final native void removeCallbacks(Runnable task);
}
