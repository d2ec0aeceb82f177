package android.app;

public abstract class ActionBar {
    public abstract void hide();
    public abstract void show();
    public abstract void setSubtitle(CharSequence subtitle);
}
