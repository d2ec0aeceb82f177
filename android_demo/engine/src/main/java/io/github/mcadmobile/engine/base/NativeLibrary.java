package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.McadException.Kind;

/** The library in C (mcad_mobile/engine/native) that searches and resizes. */
public final class NativeLibrary {
    /** Names a file in place of the library that an app brings. */
    private static final String FILE = "mcad.search.library";
    private static final int LAYOUT = 9;
    private static boolean loaded;

    private NativeLibrary() {}

    /** Load the library. McadException of kind TOWER where it is missing, as on 32-bit phones, or of another version. */
    public static synchronized void load() throws McadException {
        if (loaded) {
            return;
        }
        String path = System.getProperty(FILE);
        try {
            if (path == null) {
                System.loadLibrary("mcad_search");
            } else {
                System.load(path);
            }
            loaded = layout() == LAYOUT;
        } catch (UnsatisfiedLinkError error) {
            throw new McadException(Kind.TOWER, "The search kernels could not be loaded: " + error.getMessage() + ".",
                "Install the app again. It needs a 64-bit phone.", error);
        }
        if (!loaded) {
            throw new McadException(Kind.TOWER, "The search kernels are of another version than the engine.",
                "Build both again, from one mcad-mobile.", null);
        }
    }

    private static native int layout();
}
