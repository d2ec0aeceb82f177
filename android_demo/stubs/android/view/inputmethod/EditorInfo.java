package android.view.inputmethod;

import mcad.stubs.Unset;

public class EditorInfo {
    public static final int IME_ACTION_SEARCH = Unset.number();
}
