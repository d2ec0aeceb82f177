package android.graphics;

import io.github.mcadmobile.stubs.Unset;

public abstract class ColorSpace {
    public static native ColorSpace get(Named name);

    public static class Named {
        public static final Named SRGB = Unset.object();
    }
}
