package android.util;

public class Log {
    public static native int w(String tag, String text, Throwable error);
    public static native int w(String tag, Throwable error);
}
