package android.content.res;

public class Resources {
    public native Configuration getConfiguration();
    public native String getQuantityString(int id, int quantity, Object... arguments) throws RuntimeException;
    public native String[] getStringArray(int id) throws RuntimeException;
    public native int getDimensionPixelSize(int id) throws RuntimeException;
    public native android.util.DisplayMetrics getDisplayMetrics();
}
