package mcad.gallery;

/**
 * Photos whose path no longer means them: the phone has numbered its photos anew. They are kept under a name that no
 * photo has, until they are found again by their stamps.
 */
final class Parked {
    private static final String PREFIX = "parked:";

    private Parked() {}

    static String path(String path) {
        return PREFIX + path;
    }

    /** The volume of a path as the index has it. */
    static String volume(PhotoLibrary library, String path) {
        return library.volume(path.startsWith(PREFIX) ? path.substring(PREFIX.length()) : path);
    }
}
