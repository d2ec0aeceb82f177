package android.content.pm;

public class PackageItemInfo {
    public native CharSequence loadLabel(PackageManager packages);
}
