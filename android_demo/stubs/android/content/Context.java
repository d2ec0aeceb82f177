package android.content;

import io.github.mcadmobile.stubs.Unset;

public abstract class Context {
    public static final int MODE_PRIVATE = Unset.number();
    public abstract Context getApplicationContext();
    public abstract android.content.pm.ApplicationInfo getApplicationInfo();
    public abstract android.content.res.AssetManager getAssets();
    public abstract ContentResolver getContentResolver();
    public abstract android.content.res.Resources getResources();
    public abstract java.io.File getNoBackupFilesDir();
    public abstract String getPackageName();
    public abstract Context createConfigurationContext(android.content.res.Configuration changes);
    public abstract SharedPreferences getSharedPreferences(String name, int mode);
    public abstract int checkSelfPermission(String permission);
    public abstract void startActivity(Intent intent);
    public abstract ComponentName startForegroundService(Intent intent);
    public abstract android.content.pm.PackageManager getPackageManager();
    public final native CharSequence getText(int id);
    public final native int getColor(int id);
    public native void registerComponentCallbacks(ComponentCallbacks callbacks);
    public native void unregisterComponentCallbacks(ComponentCallbacks callbacks);
    public final native String getString(int id);
    public final native String getString(int id, Object... arguments);
    public final native <T> T getSystemService(Class<T> type);
}
