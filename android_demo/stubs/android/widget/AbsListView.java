package android.widget;

public abstract class AbsListView extends android.widget.AdapterView<ListAdapter> {
    public native void setOnScrollListener(OnScrollListener listener);

    public interface OnScrollListener {
        void onScrollStateChanged(AbsListView view, int state);
        void onScroll(AbsListView view, int first, int visible, int total);
    }
}
