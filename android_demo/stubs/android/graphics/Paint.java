package android.graphics;

import io.github.mcadmobile.stubs.Unset;

public class Paint {
    public static final int ANTI_ALIAS_FLAG = Unset.number();
    public static final int FILTER_BITMAP_FLAG = Unset.number();
    public Paint(int flags) {}
    public native void setColor(int color);
    public native void setStrokeWidth(float width);
    public native void setStyle(Style style);

    public static class Style {
        public static final Style STROKE = Unset.object();
    }
}
