package android.widget;

public class VideoView extends android.view.View {
    public native void setMediaController(MediaController controls);
    public native void setOnCompletionListener(android.media.MediaPlayer.OnCompletionListener listener);
    public native void setVideoURI(android.net.Uri uri);
    public native void seekTo(int ms);
    public native void start();
    public native void stopPlayback();
}
