package android.os;

import io.github.mcadmobile.stubs.Unset;

public class Environment {
    public static final String MEDIA_MOUNTED = Unset.object();
}
