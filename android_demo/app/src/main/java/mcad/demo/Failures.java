package mcad.demo;

import android.util.Log;
import mcad.engine.Ladder;
import mcad.engine.McadException;

/** What is said of an error: on the screen in the user's language, to the log in full. */
final class Failures {
    private static final String TAG = "mcad";

    private Failures() {}

    /** Write an error to the log; its kind is for the screen. */
    static McadException.Kind log(Throwable error) {
        Log.w(TAG, error);
        return McadException.kind(error);
    }

    /** The resource that says it. */
    static int text(McadException.Kind kind) {
        return switch (kind) {
            case ACCESS -> R.string.denied;
            case PHOTOS -> R.string.error_photos;
            case BUNDLE -> R.string.error_bundle;
            case TOWER -> R.string.error_tower;
            case INDEX -> R.string.error_index;
            case STORAGE -> R.string.error_storage;
            case NOT_INDEXED -> R.string.error_not_indexed;
            case OTHER -> R.string.error_other;
        };
    }

    static int text(Ladder.Why why) {
        return switch (why) {
            case NO_RUNTIME -> R.string.why_no_runtime;
            case NO_LIBRARY -> R.string.why_no_library;
            case FAILED -> R.string.why_failed;
            case SELF_TEST -> R.string.why_self_test;
        };
    }
}
