package io.github.mcadmobile.platform;

import android.content.Context;
import android.graphics.Bitmap;
import android.media.MediaMetadataRetriever;
import android.net.Uri;
import android.os.Build;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.gallery.PhotoLibrary;
import java.io.IOException;

/** The key frames of a video, from Android's own decoder, which turns them upright. */
public record VideoFrames(MediaMetadataRetriever video, long durationMs) implements PhotoLibrary.Frames {
    private static final String HINT = "Save it as MP4 (H.264).";

    /** McadException if Android does not read the video. */
    public static VideoFrames open(Context context, Uri uri) throws IOException {
        MediaMetadataRetriever video = new MediaMetadataRetriever();
        try {
            video.setDataSource(context, uri);
            return new VideoFrames(video, number(video, MediaMetadataRetriever.METADATA_KEY_DURATION));
        } catch (RuntimeException error) {
            new VideoFrames(video, 0).close();
            throw new McadException(uri + " cannot be read as a video: " + error + ".", HINT, error);
        }
    }

    private static long number(MediaMetadataRetriever video, int key) {
        return Long.parseLong(video.extractMetadata(key));
    }

    @Override
    public Photo near(long ms, int atLeast) throws IOException {
        int width = (int) number(video, MediaMetadataRetriever.METADATA_KEY_VIDEO_WIDTH);
        int height = (int) number(video, MediaMetadataRetriever.METADATA_KEY_VIDEO_HEIGHT);
        int side = Math.max(width, height) / PhotoDecoder.reduction(width, height, atLeast); // also of a frame that is turned
        return new BitmapDecoder.Decoded(show(ms, side), 1);
    }

    /** Decode the key frame nearest to a moment for display, its longer side {@code side} pixels from Android 8.1 on. */
    public Bitmap show(long ms, int side) throws IOException {
        try {
            Bitmap frame = Build.VERSION.SDK_INT >= Build.VERSION_CODES.O_MR1
                ? video.getScaledFrameAtTime(1000 * ms, MediaMetadataRetriever.OPTION_CLOSEST_SYNC, side, side)
                : video.getFrameAtTime(1000 * ms, MediaMetadataRetriever.OPTION_CLOSEST_SYNC);
            if (frame != null) {
                return frame;
            }
        } catch (RuntimeException | OutOfMemoryError error) {
            throw new McadException("A frame cannot be decoded: " + error + ".", HINT, error);
        }
        throw new McadException("The video has no frame at " + ms + " ms.", HINT);
    }

    @Override
    public void close() {
        try {
            video.release();
        } catch (IOException | RuntimeException ignored) {
            // Nothing was written to it.
        }
    }
}
