package android.os;

import io.github.mcadmobile.stubs.Unset;

public final class PowerManager {
    public static final int PARTIAL_WAKE_LOCK = Unset.number();
    public native boolean isPowerSaveMode();
    public native int getCurrentThermalStatus();
    public native WakeLock newWakeLock(int levelAndFlags, String tag);

    public static final class WakeLock {
        public native void setReferenceCounted(boolean counted);
        public native void acquire(long timeout);
        public native void release();
        public native boolean isHeld();
    }
}
