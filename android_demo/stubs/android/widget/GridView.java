package android.widget;

public class GridView extends AbsListView {
    public native void setAdapter(ListAdapter adapter);
}
