package mcad.gallery;

/**
 * Photos whose path no longer means them: the phone has numbered its photos anew. They are kept under a name that no
 * photo has, until they are found again by their stamps.
 */
final class StalePaths {
    private static final String PREFIX = "stale:";

    private StalePaths() {}

    static String path(String path) {
        return PREFIX + path;
    }

    /** The volume of a path as the index has it. */
    static String volume(PhotoLibrary library, String path) {
        return library.volume(path.startsWith(PREFIX) ? path.substring(PREFIX.length()) : path);
    }
}
