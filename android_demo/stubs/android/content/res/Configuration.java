package android.content.res;

public final class Configuration {
    public Configuration() {}
    public native boolean isScreenHdr();
    public native void setLocale(java.util.Locale locale);
}
