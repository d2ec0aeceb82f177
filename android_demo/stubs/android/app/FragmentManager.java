package android.app;

public abstract class FragmentManager {
    public native boolean isStateSaved();
}
