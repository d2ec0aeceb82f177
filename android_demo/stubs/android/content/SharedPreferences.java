package android.content;

public interface SharedPreferences {
    boolean getBoolean(String name, boolean otherwise);
    String getString(String name, String otherwise);
    long getLong(String name, long otherwise);
    int getInt(String name, int otherwise);
    Editor edit();

    interface Editor {
        Editor putBoolean(String name, boolean value);
        Editor putString(String name, String value);
        Editor remove(String key);
        Editor putLong(String name, long value);
        Editor putInt(String name, int value);
        void apply();
    }
}
