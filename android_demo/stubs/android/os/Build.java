package android.os;

import io.github.mcadmobile.stubs.Unset;

public class Build {
    public static final String MANUFACTURER = Unset.object();
    public static final String MODEL = Unset.object();
    public static final String FINGERPRINT = Unset.object();
    public static final String SOC_MODEL = Unset.object();
    public static final String UNKNOWN = "unknown";

    public static class VERSION {
        public static final int SDK_INT = Unset.number();
        public static final String RELEASE = Unset.object();
    }

    public static class VERSION_CODES {
        public static final int O_MR1 = 27;
        public static final int P = 28;
        public static final int Q = 29;
        public static final int R = 30;
        public static final int S = 31;
        public static final int TIRAMISU = 33;
        public static final int UPSIDE_DOWN_CAKE = 34;
    }
}
