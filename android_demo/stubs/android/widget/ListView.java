package android.widget;

public class ListView extends AbsListView {
    public native void setAdapter(ListAdapter adapter);
}
