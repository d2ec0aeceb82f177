package android.app;

public class Dialog implements android.content.DialogInterface {
    public native void show();
    public native void dismiss();
    public native void setTitle(int title);
}
