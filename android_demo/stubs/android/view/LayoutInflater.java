package android.view;

public abstract class LayoutInflater {
    public static native LayoutInflater from(android.content.Context context);
    public native View inflate(int layout, ViewGroup parent);
    public native View inflate(int layout, ViewGroup parent, boolean attach);
}
