package android.app;

import io.github.mcadmobile.stubs.Unset;

public abstract class Service extends android.content.ContextWrapper {
    public static final int START_NOT_STICKY = Unset.number();
    public static final int STOP_FOREGROUND_REMOVE = Unset.number();
    public Service() {}
    public native void onCreate();
    public native void onDestroy();
    public native int onStartCommand(android.content.Intent intent, int flags, int start);
    public abstract android.os.IBinder onBind(android.content.Intent intent);
    public native void onTimeout(int start, int type);
    public final native Application getApplication();
    public final native void startForeground(int id, Notification notification);
    public final native void startForeground(int id, Notification notification, int type);
    public final native void stopForeground(int how);
    public final native void stopSelf(int start);
    public final native boolean stopSelfResult(int start);
}
