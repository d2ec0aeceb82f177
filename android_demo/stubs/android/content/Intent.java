package android.content;

import io.github.mcadmobile.stubs.Unset;

public class Intent {
    public static final String ACTION_BOOT_COMPLETED = Unset.object();
    public static final String ACTION_SEND = Unset.object();
    public static final String ACTION_SEND_MULTIPLE = Unset.object();
    public static final String ACTION_GET_CONTENT = Unset.object();
    public static final String ACTION_VIEW = Unset.object();
    public static final String CATEGORY_OPENABLE = Unset.object();
    public static final String EXTRA_STREAM = Unset.object();
    public static final int FLAG_GRANT_READ_URI_PERMISSION = Unset.number();
    public static final int FLAG_ACTIVITY_CLEAR_TOP = Unset.number();
    public static final int FLAG_ACTIVITY_SINGLE_TOP = Unset.number();
    public Intent(String action) {}
    public Intent(String action, android.net.Uri data) {}
    public Intent(Context context, Class<?> type) {}
    public static native Intent createChooser(Intent intent, CharSequence title);
    public native Intent setType(String type);
    public native Intent setDataAndType(android.net.Uri data, String type);
    public native Intent setAction(String action);
    public native Intent addCategory(String category);
    public native void setClipData(ClipData clip);
    public native android.net.Uri getData();
    public native Intent addFlags(int flags);
    public native Intent putExtra(String name, String value);
    public native Intent putExtra(String name, android.os.Parcelable value);
    public native ClipData getClipData();
    public native String getAction();
    public native Intent putExtra(String name, String[] value);
    public native Intent putParcelableArrayListExtra(String name, java.util.ArrayList<? extends android.os.Parcelable> value);
    public native Intent putExtra(String name, android.os.Bundle value);
    public native android.os.Bundle getBundleExtra(String name);
    public native String getStringExtra(String name);
    public native String[] getStringArrayExtra(String name);
}
