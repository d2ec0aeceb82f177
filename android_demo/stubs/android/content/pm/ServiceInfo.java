package android.content.pm;

import mcad.stubs.Unset;

public class ServiceInfo {
    public static final int FOREGROUND_SERVICE_TYPE_DATA_SYNC = Unset.number();
}
