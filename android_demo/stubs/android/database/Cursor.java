package android.database;

public interface Cursor extends java.io.Closeable {
    boolean moveToFirst();
    boolean moveToNext();
    long getLong(int column);
    String getString(int column);
    boolean isNull(int column);
    void close();
}
