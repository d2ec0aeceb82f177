package android.provider;

import io.github.mcadmobile.stubs.Unset;

public class MediaStore {
    public static final String ACTION_PICK_IMAGES = Unset.object();
    public static native android.net.Uri setRequireOriginal(android.net.Uri photo);
    public static native String getVersion(android.content.Context context);
    public static native String getVersion(android.content.Context context, String volume);
    public static native android.app.PendingIntent createTrashRequest(
        android.content.ContentResolver resolver, java.util.Collection<android.net.Uri> photos, boolean trash);
    public static native android.app.PendingIntent createFavoriteRequest(
        android.content.ContentResolver resolver, java.util.Collection<android.net.Uri> photos, boolean favorite);
    public static native long getGeneration(android.content.Context context, String volume);
    public static native java.util.Set<String> getExternalVolumeNames(android.content.Context context);

    public static class Video {
        public static class Media {
            public static native android.net.Uri getContentUri(String volume);
        }
    }

    public static class Images {
        public static class Media {
            public static final String _ID = Unset.object();
            public static final String DATE_MODIFIED = Unset.object();
            public static final String WIDTH = Unset.object();
            public static final String HEIGHT = Unset.object();
            public static final String SIZE = Unset.object();
            public static final String IS_FAVORITE = Unset.object();
            public static final String MIME_TYPE = Unset.object();
            public static final String DATE_TAKEN = Unset.object();
            public static final String RELATIVE_PATH = Unset.object();
            public static final String DISPLAY_NAME = Unset.object();
            public static final String DATA = Unset.object();
            public static native android.net.Uri getContentUri(String volume);
        }
    }
}
