package android.view;

public abstract class Window {
    public native void setColorMode(int mode);
}
