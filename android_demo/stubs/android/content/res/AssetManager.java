package android.content.res;

public class AssetManager {
    public native java.io.InputStream open(String path) throws java.io.IOException;
    public native String[] list(String path) throws java.io.IOException;
}
