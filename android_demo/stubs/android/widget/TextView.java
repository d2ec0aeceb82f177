package android.widget;

public class TextView extends android.view.View {
    public native void addTextChangedListener(android.text.TextWatcher watcher);
    public native CharSequence getText();
    public native void setOnEditorActionListener(OnEditorActionListener listener);
    public final native void setText(CharSequence text);
    public native void setHorizontallyScrolling(boolean scrolls);
    public native void setMaxLines(int lines);
    public final native void setText(int text);
    public final native void setHint(int hint);
    public native void setSingleLine();
    public native void setImeOptions(int options);

    public interface OnEditorActionListener {
        boolean onEditorAction(TextView view, int action, android.view.KeyEvent event);
    }
}
