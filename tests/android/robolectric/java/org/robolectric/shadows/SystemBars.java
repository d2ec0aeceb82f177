package org.robolectric.shadows;

import android.view.Display;

/** The bars of a phone, which Robolectric has, does not show unless asked, and lets no other package ask for. */
public final class SystemBars {
    private SystemBars() {}

    /** Every window from now on lies beside or behind a status bar and the line of gestures. */
    public static void show() {
        SystemUi.systemUiForDisplay(Display.DEFAULT_DISPLAY)
            .setBehavior(SystemUi.STANDARD_STATUS_BAR, SystemUi.GESTURAL_NAVIGATION);
    }
}
