package android.media;

import io.github.mcadmobile.stubs.Unset;

public class ExifInterface {
    public static final String TAG_MAKE = Unset.object();
    public static final String TAG_MODEL = Unset.object();
    public ExifInterface(java.io.InputStream in) throws java.io.IOException {}
    public native String getAttribute(String tag);
}
