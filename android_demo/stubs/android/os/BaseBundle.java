package android.os;

public class BaseBundle {
    public native int getInt(String key, int otherwise);
    public native void putInt(String key, int value);
}
