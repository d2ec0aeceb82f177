package android.app;

public class Notification {
    public static class Action {
        public static final class Builder {
            public Builder(android.graphics.drawable.Icon icon, CharSequence title, PendingIntent intent) {}
            public native Action build();
        }
    }

    public abstract static class Style {
    }

    public static class BigTextStyle extends Style {
        public BigTextStyle() {}
        public native BigTextStyle bigText(CharSequence text);
    }

    public static class Builder {
        public Builder(android.content.Context context, String channel) {}
        public native Builder setSmallIcon(int icon);
        public native Builder setContentTitle(CharSequence title);
        public native Builder setContentText(CharSequence text);
        public native Builder setStyle(Style style);
        public native Builder setProgress(int max, int progress, boolean indeterminate);
        public native Builder setOngoing(boolean ongoing);
        public native Builder setContentIntent(android.app.PendingIntent intent);
        public native Builder addAction(Action action);
        public native Notification build();
    }
}
