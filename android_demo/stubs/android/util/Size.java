package android.util;

public class Size {
    public Size(int width, int height) {}
}
