package android.app;

public class Dialog implements android.content.DialogInterface {
    public native void setTitle(int title);
}
