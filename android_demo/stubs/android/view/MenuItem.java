package android.view;

public interface MenuItem {
    int getItemId();
    boolean isChecked();
    MenuItem setVisible(boolean visible);
    MenuItem setChecked(boolean checked);
}
