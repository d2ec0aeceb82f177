package android.content;

public interface ComponentCallbacks2 extends ComponentCallbacks {
    int TRIM_MEMORY_BACKGROUND = io.github.mcadmobile.stubs.Unset.number();
    void onTrimMemory(int level);
}
