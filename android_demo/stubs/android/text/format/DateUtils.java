package android.text.format;

import io.github.mcadmobile.stubs.Unset;

public class DateUtils {
    public static final int FORMAT_SHOW_WEEKDAY = Unset.number();
    public static final int FORMAT_SHOW_DATE = Unset.number();
    public static final int FORMAT_SHOW_YEAR = Unset.number();
    public static final int FORMAT_SHOW_TIME = Unset.number();
    public static native String formatDateTime(android.content.Context context, long ms, int flags);
    public static native String formatElapsedTime(long seconds);
}
