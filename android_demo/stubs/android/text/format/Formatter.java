package android.text.format;

public class Formatter {
    public static native String formatShortFileSize(android.content.Context context, long bytes);
}
