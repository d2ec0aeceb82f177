package android.content.pm;

import mcad.stubs.Unset;

public abstract class PackageManager {
    public static final int PERMISSION_GRANTED = Unset.number();
}
