package android;

import io.github.mcadmobile.stubs.Unset;

public final class R {
    public static final class string {
        public static final int ok = Unset.number();
        public static final int cancel = Unset.number();
    }

    public static final class drawable {
        public static final int stat_notify_sync = Unset.number();
    }
}
