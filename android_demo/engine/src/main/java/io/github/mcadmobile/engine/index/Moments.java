package io.github.mcadmobile.engine.index;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The rows of a video: one for each moment that stands for it, under the path FILE#t=SECONDS. Each video has a row at
 * 0. As mcad_mobile/engine/index/moments.py.
 */
public final class Moments {
    /** The moment of a photo. */
    public static final long NONE = -1;

    private static final String MARK = "#t=";
    private static final String VIDEO =
        "(?:stale:)?content://media/[^/]+/video/media/\\d+(?:#[^#=]+)?|.+\\.(?:mp4|m4v|mov|3gp|mkv|webm)";
    private static final Pattern FILE = Pattern.compile(VIDEO, Pattern.CASE_INSENSITIVE | Pattern.DOTALL);
    private static final Pattern MOMENT = Pattern.compile(
        "(" + VIDEO + ")" + MARK + "(\\d{1,15})\\.(\\d{3})", Pattern.CASE_INSENSITIVE | Pattern.DOTALL);

    private Moments() {}

    /** Whether a file's path is that of a video: by its suffix, or as MediaStore names it. */
    public static boolean isVideo(String file) {
        return FILE.matcher(file).matches();
    }

    /** The path of the row for a moment. */
    public static String path(String video, long ms) {
        return String.format(Locale.ROOT, "%s%s%d.%03d", video, MARK, ms / 1000, ms % 1000);
    }

    /** The path of the first row of a photo or video. */
    public static String firstRow(String file) {
        return isVideo(file) ? path(file, 0) : file;
    }

    /** The file of a row. */
    public static String file(String row) {
        Matcher found = moment(row);
        return found == null ? row : found.group(1);
    }

    /** The moment of a row in milliseconds; {@link #NONE} for a photo. */
    public static long ms(String row) {
        Matcher found = moment(row);
        return found == null ? NONE : Long.parseLong(found.group(2) + found.group(3));
    }

    private static Matcher moment(String row) {
        Matcher found = row.contains(MARK) ? MOMENT.matcher(row) : null;
        return found != null && found.matches() ? found : null;
    }
}
