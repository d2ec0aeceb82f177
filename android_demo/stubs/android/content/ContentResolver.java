package android.content;

import io.github.mcadmobile.stubs.Unset;

public abstract class ContentResolver {
    public static final String QUERY_ARG_LIMIT = Unset.object();
    public static final String QUERY_ARG_SQL_SELECTION = Unset.object();
    public static final String QUERY_ARG_SQL_SORT_ORDER = Unset.object();
    public final native android.database.Cursor query(android.net.Uri uri, String[] columns, android.os.Bundle query, android.os.CancellationSignal signal);
    public final native android.database.Cursor query(android.net.Uri uri, String[] columns, String where, String[] arguments, String order);
    public final native java.io.InputStream openInputStream(android.net.Uri uri) throws java.io.FileNotFoundException;
    public final native void registerContentObserver(android.net.Uri uri, boolean descendants, android.database.ContentObserver observer);
    public final native void unregisterContentObserver(android.database.ContentObserver observer);
    public native android.graphics.Bitmap loadThumbnail(android.net.Uri uri, android.util.Size size, android.os.CancellationSignal signal) throws java.io.IOException;
}
