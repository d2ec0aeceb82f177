package android.os;

public class BaseBundle {
    public native boolean containsKey(String key);
    public native boolean getBoolean(String key, boolean otherwise);
    public native void putBoolean(String key, boolean value);
    public native int getInt(String key, int otherwise);
    public native void putInt(String key, int value);
    public native long getLong(String key, long otherwise);
    public native void putLong(String key, long value);
    public native boolean[] getBooleanArray(String key);
    public native void putBooleanArray(String key, boolean[] value);
    public native String getString(String key);
    public native void putString(String key, String value);
    public native String[] getStringArray(String key);
    public native int[] getIntArray(String key);
    public native void putIntArray(String key, int[] value);
    public native void putStringArray(String key, String[] value);
}
