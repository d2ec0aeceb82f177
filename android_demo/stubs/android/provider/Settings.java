package android.provider;

import mcad.stubs.Unset;

public class Settings {
    public static final String ACTION_APPLICATION_DETAILS_SETTINGS = Unset.object();
}
