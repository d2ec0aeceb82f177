package android.content;

import io.github.mcadmobile.stubs.Unset;

public interface DialogInterface {
    int BUTTON_NEUTRAL = Unset.number();

    interface OnClickListener {
        void onClick(DialogInterface dialog, int which);
    }

    interface OnMultiChoiceClickListener {
        void onClick(DialogInterface dialog, int which, boolean checked);
    }
}
