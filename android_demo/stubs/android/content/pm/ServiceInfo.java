package android.content.pm;

import io.github.mcadmobile.stubs.Unset;

public class ServiceInfo {
    public static final int FOREGROUND_SERVICE_TYPE_DATA_SYNC = Unset.number();
}
