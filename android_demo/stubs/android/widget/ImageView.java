package android.widget;

import io.github.mcadmobile.stubs.Unset;

public class ImageView extends android.view.View {
    public ImageView(android.content.Context context, android.util.AttributeSet attributes) {
        super(context, attributes);
    }

    public native void setImageBitmap(android.graphics.Bitmap bitmap);
    public native void setImageMatrix(android.graphics.Matrix matrix);
    public native void setScaleType(ScaleType type);

    public static class ScaleType {
        public static final ScaleType MATRIX = Unset.object();
    }
}
