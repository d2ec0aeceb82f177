package android.view.accessibility;

import io.github.mcadmobile.stubs.Unset;

public class AccessibilityNodeInfo {
    public static final int ACTION_SCROLL_FORWARD = Unset.number();
    public static final int ACTION_SCROLL_BACKWARD = Unset.number();
    public native void setScrollable(boolean scrollable);
    public native void addAction(AccessibilityAction action);

    public static final class AccessibilityAction {
        public static final AccessibilityAction ACTION_SCROLL_FORWARD = Unset.object();
        public static final AccessibilityAction ACTION_SCROLL_BACKWARD = Unset.object();
    }
}
