package android.app.job;

import io.github.mcadmobile.stubs.Unset;

public class JobInfo {
    public static class Builder {
        public Builder(int id, android.content.ComponentName service) {}
        public native Builder setPeriodic(long ms);
        public native Builder setRequiresBatteryNotLow(boolean notLow);
        public native Builder setRequiresCharging(boolean charging);
        public native Builder setRequiresDeviceIdle(boolean idle);
        public native Builder setPersisted(boolean persisted);
        public native Builder setMinimumLatency(long ms);
        public native Builder addTriggerContentUri(TriggerContentUri uri);
        public native Builder setTriggerContentUpdateDelay(long ms);
        public native Builder setTriggerContentMaxDelay(long ms);
        public native JobInfo build();
    }

    public static final class TriggerContentUri {
        public static final int FLAG_NOTIFY_FOR_DESCENDANTS = Unset.number();
        public TriggerContentUri(android.net.Uri uri, int flags) {}
    }
}
