package android.widget;

public class GridView extends AbsListView {
    public native void setAdapter(ListAdapter adapter);
    public native void setSelection(int position);
}
