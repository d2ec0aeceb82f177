package android.widget;

import io.github.mcadmobile.stubs.Unset;

public class Toast {
    public static final int LENGTH_LONG = Unset.number();
    public static native Toast makeText(android.content.Context context, CharSequence text, int length);
    public static native Toast makeText(android.content.Context context, int text, int length);
    public native void show();
}
