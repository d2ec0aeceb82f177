package mcad.stubs;

/** Values that only a phone knows: a constant that came from here cannot be copied into our classes. */
public final class Unset {
    private Unset() {}

    public static native int number();

    public static native <T> T object();
}
