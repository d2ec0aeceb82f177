package android.widget;

public class ArrayAdapter<T> extends BaseAdapter {
    public ArrayAdapter(android.content.Context context, int layout, java.util.List<T> rows) {}
    public native int getCount();
    public native T getItem(int position);
    public native long getItemId(int position);
    public native android.view.View getView(int position, android.view.View old, android.view.ViewGroup parent);
}
