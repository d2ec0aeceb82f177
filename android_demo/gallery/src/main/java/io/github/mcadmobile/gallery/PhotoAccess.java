package io.github.mcadmobile.gallery;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** The permissions for photos and videos by Android version, and the access that they give. */
public final class PhotoAccess {
    public static final String READ_STORAGE = "android.permission.READ_EXTERNAL_STORAGE";
    public static final String READ_IMAGES = "android.permission.READ_MEDIA_IMAGES";
    public static final String READ_VIDEO = "android.permission.READ_MEDIA_VIDEO";
    public static final String READ_SELECTED = "android.permission.READ_MEDIA_VISUAL_USER_SELECTED";

    private static final int ANDROID_13 = 33;
    private static final int ANDROID_14 = 34;

    /** What the app can see: nothing, what the user picked (Android 14 and later) or one kind only, or all. */
    public enum State { NONE, SOME, ALL }

    private PhotoAccess() {}

    /**
     * Detects that Android will not show its permission dialog again, which it does not report. {@code
     * shouldShowRequestPermissionRationale} is true after the first refusal and false after the last. A dismissed
     * dialog looks like a last refusal, so only a second such answer counts.
     */
    public static final class Refusals {
        private int unexplained;

        /** Whether a refused request was the last; the arguments are the rationale flag before the request and now. */
        public boolean isLast(boolean explainBefore, boolean explainNow) {
            unexplained = explainNow ? 0 : unexplained + 1;
            return !explainNow && (explainBefore || unexplained > 1);
        }
    }

    /** The permissions to request for photos. */
    public static String[] toRequest(int sdk) {
        return toRequest(sdk, false);
    }

    /**
     * The permissions to request for photos and, with {@code videos}, for videos. Android 14's dialog offers to pick
     * some of them when READ_SELECTED is requested, too.
     */
    public static String[] toRequest(int sdk, boolean videos) {
        List<String> asked = new ArrayList<>(all(sdk, videos));
        if (sdk >= ANDROID_14) {
            asked.add(READ_SELECTED);
        }
        return asked.toArray(new String[0]);
    }

    /** The app's access to photos and, with {@code videos}, videos; {@code granted} tests whether a permission is granted. */
    public static State state(int sdk, boolean videos, Predicate<String> granted) {
        List<String> all = all(sdk, videos);
        long given = all.stream().filter(granted).count();
        if (given == all.size()) {
            return State.ALL;
        }
        return given > 0 || sdk >= ANDROID_14 && granted.test(READ_SELECTED) ? State.SOME : State.NONE;
    }

    private static List<String> all(int sdk, boolean videos) {
        if (sdk < ANDROID_13) {
            return List.of(READ_STORAGE);
        }
        return videos ? List.of(READ_IMAGES, READ_VIDEO) : List.of(READ_IMAGES);
    }
}
