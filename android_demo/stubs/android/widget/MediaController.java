package android.widget;

public class MediaController extends android.view.View {
    public MediaController(android.content.Context context) {}
    public native void hide();
}
