package io.github.mcadmobile.stubs;

/** Stand-ins for values that only a phone knows: unlike constants, they are not inlined into our classes. */
public final class Unset {
    private Unset() {}

    public static native int number();

    public static native <T> T object();
}
