package io.github.mcadmobile.robolectric;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.media.MediaMetadataRetriever;
import android.net.Uri;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import org.robolectric.annotation.Implementation;
import org.robolectric.annotation.Implements;

/** Stands for Android's decoder of videos: a film is its length in ms and the names of photos, of equal time each. */
@Implements(MediaMetadataRetriever.class)
public final class ShadowFilm {
    private String[] film;

    @Implementation
    protected void setDataSource(Context context, Uri uri) {
        try (InputStream in = context.getContentResolver().openInputStream(uri)) {
            film = new String(in.readAllBytes(), StandardCharsets.UTF_8).split(" ");
            Long.parseLong(film[0]);
        } catch (IOException | NumberFormatException error) {
            throw new IllegalArgumentException("setDataSource failed", error);
        }
    }

    @Implementation
    protected String extractMetadata(int key) {
        return key == MediaMetadataRetriever.METADATA_KEY_DURATION ? film[0] : "512"; // a side
    }

    @Implementation
    protected Bitmap getFrameAtTime(long us, int option) {
        int frames = film.length - 1;
        String shown = film[1 + (int) Math.min(us / 1000 * frames / Long.parseLong(film[0]), frames - 1)];
        return BitmapFactory.decodeFile(AppTestCase.packaged(shown).getPath());
    }

    @Implementation
    protected Bitmap getScaledFrameAtTime(long us, int option, int width, int height) {
        Bitmap frame = getFrameAtTime(us, option);
        float scale = Math.min((float) width / frame.getWidth(), (float) height / frame.getHeight());
        return Bitmap.createScaledBitmap(
            frame, Math.round(scale * frame.getWidth()), Math.round(scale * frame.getHeight()), true);
    }
}
