package android.content;

public class ContentUris {
    public static native long parseId(android.net.Uri uri);
    public static native android.net.Uri withAppendedId(android.net.Uri uri, long id);
}
