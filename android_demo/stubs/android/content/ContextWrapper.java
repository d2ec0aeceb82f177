package android.content;

public class ContextWrapper extends Context {
    public native Context getApplicationContext();
    public native android.content.pm.ApplicationInfo getApplicationInfo();
    public native android.content.res.AssetManager getAssets();
    public native ContentResolver getContentResolver();
    public native android.content.res.Resources getResources();
    public native java.io.File getNoBackupFilesDir();
    public native String getPackageName();
    public native Context createConfigurationContext(android.content.res.Configuration changes);
    public native SharedPreferences getSharedPreferences(String name, int mode);
    public native int checkSelfPermission(String permission);
    public native void startActivity(Intent intent);
    public native ComponentName startForegroundService(Intent intent);
    public native android.content.pm.PackageManager getPackageManager();
}
