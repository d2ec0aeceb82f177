package android.text.format;

public class DateUtils {
    public static native String formatElapsedTime(long seconds);
}
