package android.app;

public class Notification {
    public static class Builder {
        public Builder(android.content.Context context, String channel) {}
        public native Builder setSmallIcon(int icon);
        public native Builder setContentTitle(CharSequence title);
        public native Builder setContentText(CharSequence text);
        public native Builder setProgress(int max, int progress, boolean indeterminate);
        public native Builder setOngoing(boolean ongoing);
        public native Builder setContentIntent(android.app.PendingIntent intent);
        public native Notification build();
    }
}
