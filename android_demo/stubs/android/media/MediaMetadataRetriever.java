package android.media;

import io.github.mcadmobile.stubs.Unset;

public class MediaMetadataRetriever {
    public static final int METADATA_KEY_DURATION = Unset.number();
    public static final int METADATA_KEY_VIDEO_WIDTH = Unset.number();
    public static final int METADATA_KEY_VIDEO_HEIGHT = Unset.number();
    public static final int OPTION_CLOSEST_SYNC = Unset.number();
    public native void setDataSource(android.content.Context context, android.net.Uri uri);
    public native String extractMetadata(int key);
    public native android.graphics.Bitmap getFrameAtTime(long us, int option);
    public native android.graphics.Bitmap getScaledFrameAtTime(long us, int option, int width, int height);
    public native void release() throws java.io.IOException;
}
