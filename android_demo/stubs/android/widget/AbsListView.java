package android.widget;

import io.github.mcadmobile.stubs.Unset;

public abstract class AbsListView extends android.widget.AdapterView<ListAdapter> {
    public static final int CHOICE_MODE_MULTIPLE_MODAL = Unset.number();
    public native int getChoiceMode();
    public native void setChoiceMode(int mode);
    public native void setMultiChoiceModeListener(MultiChoiceModeListener listener);
    public native boolean isItemChecked(int position);
    public native int getCheckedItemCount();
    public native void setOnScrollListener(OnScrollListener listener);

    public interface OnScrollListener {
        void onScrollStateChanged(AbsListView view, int state);
        void onScroll(AbsListView view, int first, int visible, int total);
    }

    public interface MultiChoiceModeListener extends android.view.ActionMode.Callback {
        void onItemCheckedStateChanged(android.view.ActionMode mode, int position, long id, boolean checked);
    }
}
