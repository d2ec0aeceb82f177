package mcad.gallery;

import java.util.function.Predicate;

/** The permissions to see photos by version of Android, and the access that granted permissions give. */
public final class PhotoAccess {
    public static final String READ_STORAGE = "android.permission.READ_EXTERNAL_STORAGE";
    public static final String READ_IMAGES = "android.permission.READ_MEDIA_IMAGES";
    public static final String READ_SELECTED = "android.permission.READ_MEDIA_VISUAL_USER_SELECTED";

    private static final int ANDROID_13 = 33;
    private static final int ANDROID_14 = 34;

    /** What an app sees: nothing, the photos that the user picked (Android 14 and later), or all. */
    public enum State { NONE, SOME, ALL }

    private PhotoAccess() {}

    /**
     * Whether Android will ask for access no more, which it does not tell. It wants the request explained
     * ({@code shouldShowRequestPermissionRationale}) after a first refusal, and no longer after the last. A dialog that
     * was put away looks like the last refusal, once: a second answer of the kind is believed.
     */
    public static final class Refusals {
        private int unexplained;

        /** A request was answered by no: whether it was to be explained before, and whether it is now. */
        public boolean isLast(boolean explainBefore, boolean explainNow) {
            unexplained = explainNow ? 0 : unexplained + 1;
            return !explainNow && (explainBefore || unexplained > 1);
        }
    }

    /** What to ask for. On Android 14 both at once: the system's dialog then offers to pick photos. */
    public static String[] toRequest(int sdk) {
        if (sdk >= ANDROID_14) {
            return new String[] {READ_IMAGES, READ_SELECTED};
        }
        return new String[] {sdk >= ANDROID_13 ? READ_IMAGES : READ_STORAGE};
    }

    /** The app's access; {@code granted} tests whether a permission is granted. */
    public static State state(int sdk, Predicate<String> granted) {
        if (granted.test(sdk >= ANDROID_13 ? READ_IMAGES : READ_STORAGE)) {
            return State.ALL;
        }
        return sdk >= ANDROID_14 && granted.test(READ_SELECTED) ? State.SOME : State.NONE;
    }
}
