package android.app;

import android.content.DialogInterface;

public class AlertDialog extends Dialog {
    public native void setMessage(CharSequence message);
    public native android.widget.Button getButton(int which);

    public static class Builder {
        public Builder(android.content.Context context) {}
        public native Builder setTitle(int title);
        public native Builder setMultiChoiceItems(
            CharSequence[] items, boolean[] checked, DialogInterface.OnMultiChoiceClickListener listener);
        public native Builder setPositiveButton(int text, DialogInterface.OnClickListener listener);
        public native Builder setNeutralButton(int text, DialogInterface.OnClickListener listener);
        public native Builder setNegativeButton(int text, DialogInterface.OnClickListener listener);
        public native Builder setMessage(int message);
        public native Builder setView(android.view.View view);
        public native AlertDialog create();
    }
}
