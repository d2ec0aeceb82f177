package mcad.engine.base;

import mcad.engine.McadException;

/** The library in C (mcad_mobile/engine/native) that searches and resizes. */
public final class NativeLibrary {
    /** Names a file in place of the library that an app brings. */
    private static final String FILE = "mcad.search.library";
    private static final int LAYOUT = 6;
    private static boolean loaded;

    private NativeLibrary() {}

    /** Load the library. McadException where it is missing, or of another version. */
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
            throw new McadException("The search kernels could not be loaded: " + error.getMessage() + ".", "Install the app again.", error);
        }
        if (!loaded) {
            throw new McadException("The search kernels are of another version than the engine.", "Build both again, from one mcad-mobile.");
        }
    }

    private static native int layout();
}
