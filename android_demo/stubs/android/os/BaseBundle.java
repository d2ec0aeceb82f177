package android.os;

public class BaseBundle {
    public native String getString(String key);
    public native void putString(String key, String value);
}
