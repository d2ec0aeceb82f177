package android.app;

public abstract class ActionBar {
    public abstract void setSubtitle(CharSequence subtitle);
}
