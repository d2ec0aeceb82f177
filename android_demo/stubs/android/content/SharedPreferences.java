package android.content;

public interface SharedPreferences {
    boolean getBoolean(String name, boolean otherwise);
    long getLong(String name, long otherwise);
    int getInt(String name, int otherwise);
    Editor edit();

    interface Editor {
        Editor putBoolean(String name, boolean value);
        Editor putLong(String name, long value);
        Editor putInt(String name, int value);
        void apply();
    }
}
