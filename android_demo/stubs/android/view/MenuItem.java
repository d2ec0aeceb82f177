package android.view;

public interface MenuItem {
    int getItemId();
    boolean isChecked();
    MenuItem setChecked(boolean checked);
}
