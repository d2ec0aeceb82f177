package android.icu.text;

public abstract class DateFormat {
    public static final native DateFormat getInstanceForSkeleton(String skeleton, java.util.Locale locale);
    public final native String format(java.util.Date date);
}
