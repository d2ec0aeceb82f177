package android.content.res;

public class AssetManager {
    public native java.io.InputStream open(String path) throws java.io.IOException;
}
