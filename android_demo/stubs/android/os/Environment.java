package android.os;

import mcad.stubs.Unset;

public class Environment {
    public static final String MEDIA_MOUNTED = Unset.object();
}
