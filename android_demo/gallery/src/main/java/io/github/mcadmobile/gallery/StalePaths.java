package io.github.mcadmobile.gallery;

/**
 * Indexed photos whose path may mean another photo because the phone renumbered its photos. They are stored under an
 * unused path until their stamps find them again.
 */
final class StalePaths {
    private static final String PREFIX = "stale:";

    private StalePaths() {}

    static String path(String path) {
        return PREFIX + path;
    }

    /** The volume of an indexed path, stale or not. */
    static String volume(PhotoLibrary library, String path) {
        return library.volume(path.startsWith(PREFIX) ? path.substring(PREFIX.length()) : path);
    }
}
