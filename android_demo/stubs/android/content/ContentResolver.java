package android.content;

public abstract class ContentResolver {
    public final native android.database.Cursor query(android.net.Uri uri, String[] columns, String where, String[] arguments, String order);
    public final native java.io.InputStream openInputStream(android.net.Uri uri) throws java.io.FileNotFoundException;
    public final native void registerContentObserver(android.net.Uri uri, boolean descendants, android.database.ContentObserver observer);
    public final native void unregisterContentObserver(android.database.ContentObserver observer);
    public native android.graphics.Bitmap loadThumbnail(android.net.Uri uri, android.util.Size size, android.os.CancellationSignal signal) throws java.io.IOException;
}
