package android.app;

public class Fragment {
    public Fragment() {}
    public final native Activity getActivity();
    public final native android.os.Bundle getArguments();
    public native void setArguments(android.os.Bundle arguments);
    public native void onStart();
    public native void onSaveInstanceState(android.os.Bundle saved);
}
