package android.content;

public class ClipData {
    public static native ClipData newRawUri(CharSequence label, android.net.Uri uri);
    public static native ClipData newPlainText(CharSequence label, CharSequence text);
    public native int getItemCount();
    public native Item getItemAt(int position);

    public static class Item {
        public native android.net.Uri getUri();
    }
}
