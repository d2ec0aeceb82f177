package android.view.inputmethod;

import io.github.mcadmobile.stubs.Unset;

public class EditorInfo {
    public static final int IME_ACTION_SEARCH = Unset.number();
}
