package android.content;

public class ContentUris {
    public static native android.net.Uri withAppendedId(android.net.Uri uri, long id);
}
