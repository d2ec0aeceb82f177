package android.app;

import io.github.mcadmobile.stubs.Unset;

public class NotificationManager {
    public static final int IMPORTANCE_LOW = Unset.number();
    public native void createNotificationChannel(NotificationChannel channel);
    public native void notify(int id, Notification notification);
}
