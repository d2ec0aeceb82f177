package android.provider;

import io.github.mcadmobile.stubs.Unset;

public class Settings {
    public static final String ACTION_APPLICATION_DETAILS_SETTINGS = Unset.object();
}
