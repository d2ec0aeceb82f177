package android.widget;

public abstract class AdapterView<T extends Adapter> extends android.view.ViewGroup {
    public native int getCount();
    public native int getFirstVisiblePosition();
    public native void setOnItemClickListener(OnItemClickListener listener);

    public interface OnItemClickListener {
        void onItemClick(AdapterView<?> parent, android.view.View view, int position, long id);
    }
}
