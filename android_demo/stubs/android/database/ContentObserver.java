package android.database;

public abstract class ContentObserver {
    public ContentObserver(android.os.Handler handler) {}
    public native void onChange(boolean self);
}
