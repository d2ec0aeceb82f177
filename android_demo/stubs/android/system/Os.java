package android.system;

public class Os {
    public static native void setenv(String name, String value, boolean overwrite) throws ErrnoException;
}
