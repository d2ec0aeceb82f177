package android.app;

import io.github.mcadmobile.stubs.Unset;

public class PendingIntent {
    public static final int FLAG_IMMUTABLE = Unset.number();
    public native android.content.IntentSender getIntentSender();
    public static native PendingIntent getService(android.content.Context context, int request, android.content.Intent intent, int flags);
    public static native PendingIntent getActivity(android.content.Context context, int request, android.content.Intent intent, int flags);
}
