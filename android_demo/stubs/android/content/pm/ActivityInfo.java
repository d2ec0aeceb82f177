package android.content.pm;

import io.github.mcadmobile.stubs.Unset;

public class ActivityInfo {
    public static final int COLOR_MODE_DEFAULT = Unset.number();
    public static final int COLOR_MODE_HDR = Unset.number();
}
