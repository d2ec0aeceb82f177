package android.os.storage;

public class StorageManager {
    public native java.util.List<StorageVolume> getStorageVolumes();
}
