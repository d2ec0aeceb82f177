package android.view;

import io.github.mcadmobile.stubs.Unset;

public interface Menu {
    int NONE = Unset.number();

    MenuItem add(int group, int id, int order, int title);
    MenuItem findItem(int id);
}
