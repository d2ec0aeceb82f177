package android.widget;

public abstract class BaseAdapter implements ListAdapter {
    public BaseAdapter() {}
    public native void notifyDataSetChanged();
}
