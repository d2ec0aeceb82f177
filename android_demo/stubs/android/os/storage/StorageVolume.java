package android.os.storage;

public final class StorageVolume {
    public native boolean isPrimary();
    public native String getUuid();
    public native String getState();
}
