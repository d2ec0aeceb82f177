package android.view;

import mcad.stubs.Unset;

public class View {
    public static final int VISIBLE = Unset.number();
    public static final int GONE = Unset.number();
    public final native <T extends View> T findViewById(int id);
    public native void setContentDescription(CharSequence description);
    public native void setOnClickListener(OnClickListener listener);
    public native void setTag(Object tag);
    public native Object getTag();
    public native android.os.IBinder getWindowToken();
    public native void setVisibility(int visibility);
    public native boolean post(Runnable task);

    public interface OnClickListener {
        void onClick(View view);
    }
}
