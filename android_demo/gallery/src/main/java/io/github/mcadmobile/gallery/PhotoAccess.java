package io.github.mcadmobile.gallery;

import java.util.function.Predicate;

/** The permissions for photos by Android version, and the access that they give. */
public final class PhotoAccess {
    public static final String READ_STORAGE = "android.permission.READ_EXTERNAL_STORAGE";
    public static final String READ_IMAGES = "android.permission.READ_MEDIA_IMAGES";
    public static final String READ_VIDEO = "android.permission.READ_MEDIA_VIDEO";
    public static final String READ_SELECTED = "android.permission.READ_MEDIA_VISUAL_USER_SELECTED";

    private static final int ANDROID_13 = 33;
    private static final int ANDROID_14 = 34;

    /** What the app can see: nothing, the photos that the user picked (Android 14 and later), or all. */
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

    /** The permissions to request. Android 14's dialog offers to pick photos when both are requested together. */
    public static String[] toRequest(int sdk) {
        if (sdk >= ANDROID_14) {
            return new String[] {READ_IMAGES, READ_SELECTED};
        }
        return new String[] {sdk >= ANDROID_13 ? READ_IMAGES : READ_STORAGE};
    }

    /** The app's access; {@code granted} tests whether a permission is granted. */
    public static State state(int sdk, Predicate<String> granted) {
        return state(sdk, granted, READ_IMAGES);
    }

    /** The app's access to videos. */
    public static State videos(int sdk, Predicate<String> granted) {
        return state(sdk, granted, READ_VIDEO);
    }

    private static State state(int sdk, Predicate<String> granted, String permission) {
        if (granted.test(sdk >= ANDROID_13 ? permission : READ_STORAGE)) {
            return State.ALL;
        }
        return sdk >= ANDROID_14 && granted.test(READ_SELECTED) ? State.SOME : State.NONE;
    }
}
