package android.view;

import io.github.mcadmobile.stubs.Unset;

public class View {
    public static final int VISIBLE = Unset.number();
    public static final int SYSTEM_UI_FLAG_IMMERSIVE = Unset.number();
    public static final int SYSTEM_UI_FLAG_FULLSCREEN = Unset.number();
    public static final int SYSTEM_UI_FLAG_HIDE_NAVIGATION = Unset.number();
    public static final int GONE = Unset.number();
    public static final int LAYOUT_DIRECTION_RTL = Unset.number();
    public View() {}
    public View(android.content.Context context, android.util.AttributeSet attributes) {}
    public final native <T extends View> T findViewById(int id);
    public final native int getWidth();
    public final native int getHeight();
    public native int getLayoutDirection();
    public native void setFocusable(boolean focusable);
    public native void announceForAccessibility(CharSequence text);
    public native boolean onTouchEvent(MotionEvent event);
    public native boolean onKeyDown(int key, KeyEvent event);
    protected native void onSizeChanged(int width, int height, int widthBefore, int heightBefore);
    public native void onInitializeAccessibilityNodeInfo(android.view.accessibility.AccessibilityNodeInfo info);
    public native boolean performAccessibilityAction(int action, android.os.Bundle arguments);
    public native void setContentDescription(CharSequence description);
    public native void setOnClickListener(OnClickListener listener);
    public native boolean isSelected();
    public native void setSelected(boolean selected);
    public native void setAlpha(float alpha);
    public native void setTag(Object tag);
    public native Object getTag();
    public native android.os.IBinder getWindowToken();
    public native void setEnabled(boolean enabled);
    public native int getVisibility();
    public native void setVisibility(int visibility);
    public final native android.content.res.Resources getResources();
    protected native void onDraw(android.graphics.Canvas canvas);
    public native boolean post(Runnable task);
    public native boolean postDelayed(Runnable task, long ms);
    public native boolean removeCallbacks(Runnable task);
    public native void invalidate();
    public native ViewPropertyAnimator animate();
    public native void setTranslationX(float x);
    public native void setSystemUiVisibility(int flags);

    public interface OnClickListener {
        void onClick(View view);
    }
}
