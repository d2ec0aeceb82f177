package android.widget;

public class EditText extends TextView {
    public EditText(android.content.Context context) {}
    public native android.text.Editable getText();
    public native void setSelection(int at);
}
