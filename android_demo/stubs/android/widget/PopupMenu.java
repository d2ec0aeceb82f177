package android.widget;

import android.view.MenuItem;

public class PopupMenu {
    public PopupMenu(android.content.Context context, android.view.View anchor) {}
    public native android.view.Menu getMenu();
    public native void setOnMenuItemClickListener(OnMenuItemClickListener listener);
    public native void show();

    public interface OnMenuItemClickListener {
        boolean onMenuItemClick(MenuItem item);
    }
}
