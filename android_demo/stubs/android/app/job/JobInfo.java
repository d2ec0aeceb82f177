package android.app.job;

public class JobInfo {
    public static class Builder {
        public Builder(int id, android.content.ComponentName service) {}
        public native Builder setPeriodic(long ms);
        public native Builder setRequiresCharging(boolean charging);
        public native Builder setRequiresDeviceIdle(boolean idle);
        public native Builder setPersisted(boolean persisted);
        public native Builder setOverrideDeadline(long ms);
        public native JobInfo build();
    }
}
