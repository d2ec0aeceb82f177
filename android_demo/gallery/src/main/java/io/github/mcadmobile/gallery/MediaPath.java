package io.github.mcadmobile.gallery;

import org.jspecify.annotations.Nullable;

/**
 * The indexed path of a photo in Android's MediaStore: its content URI, which names the volume since Android 10 ({@code
 * content://media/external_primary/images/media/7}). Before that, every volume is called "external", so the volume is
 * appended to the URI ({@code content://media/external/images/media/7#1A2B-3C4D}).
 */
public final class MediaPath {
    /** The name of the phone's own storage, which has none before Android 10. */
    public static final String PRIMARY = "primary";

    private static final String START = "content://media/";
    private static final String STORAGE = "/storage/";
    private static final String EMULATED = "emulated";

    private MediaPath() {}

    /** The volume of an indexed path; empty if the path is not from MediaStore. */
    public static String volume(String path) {
        int mark = path.lastIndexOf('#');
        if (mark >= 0) {
            return path.substring(mark + 1);
        }
        int end = path.indexOf('/', START.length());
        return path.startsWith(START) && end > 0 ? path.substring(START.length(), end) : "";
    }

    /** The content URI of an indexed path, also of a video's moment. */
    public static String uri(String path) {
        int mark = path.indexOf('#');
        return mark >= 0 ? path.substring(0, mark) : path;
    }

    /**
     * The folder of a photo on its volume, without a trailing slash; empty for the volume's root. {@code relativePath}
     * is its RELATIVE_PATH (Android 10 and later), {@code data} the path of its file.
     */
    public static String folder(@Nullable String relativePath, @Nullable String data) {
        if (relativePath != null) {
            return relativePath.endsWith("/") ? relativePath.substring(0, relativePath.length() - 1) : relativePath;
        }
        int end = data == null ? -1 : data.lastIndexOf('/');
        if (end < 0) {
            return "";
        }
        String folder = data.substring(0, end);
        if (!folder.startsWith(STORAGE)) {
            return folder.substring(1);
        }
        // Skip the volume; "emulated" has one more level, the user.
        int levels = folder.startsWith(STORAGE + EMULATED + "/") ? 2 : 1;
        int at = STORAGE.length();
        for (int i = 0; i < levels && at > 0; i++) {
            at = folder.indexOf('/', at) + 1;
        }
        return at > 0 ? folder.substring(at) : "";
    }

    /** The indexed path for a content URI that does not name the volume; {@code data} is the path of its file. */
    public static String of(String uri, @Nullable String data) {
        String volume = PRIMARY;
        if (data != null && data.startsWith(STORAGE)) {
            int end = data.indexOf('/', STORAGE.length());
            String name = end < 0 ? "" : data.substring(STORAGE.length(), end);
            volume = name.isEmpty() || name.equals(EMULATED) || name.equals("self") ? PRIMARY : name;
        }
        return uri + '#' + volume;
    }
}
