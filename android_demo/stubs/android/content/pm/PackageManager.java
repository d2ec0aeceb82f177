package android.content.pm;

import io.github.mcadmobile.stubs.Unset;

public abstract class PackageManager {
    public static final int PERMISSION_GRANTED = Unset.number();
    public static final int GET_PERMISSIONS = Unset.number();
    public abstract PackageInfo getPackageInfo(String name, int flags) throws NameNotFoundException;

    public static class NameNotFoundException extends android.util.AndroidException {
        private static final long serialVersionUID = 1L;
    }
}
