package io.github.mcadmobile.demo;

import android.app.Activity;
import android.app.PendingIntent;
import android.content.Intent;
import android.content.IntentSender;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.gallery.MediaPath;
import java.util.ArrayList;
import java.util.List;

/** Shares photos and, from Android 11 on, trashes or marks them, for which Android asks the user. */
final class PhotoActions {
    static final boolean MAY_CHANGE = Build.VERSION.SDK_INT >= Build.VERSION_CODES.R;
    /** Request codes for {@code onActivityResult}. */
    static final int TRASH = 11;
    static final int FAVOURITE = 12;

    private PhotoActions() {}

    /** Move to the trash, from which other apps can restore photos for a month. */
    static void trash(Activity screen, List<String> paths) {
        ask(screen, MediaStore.createTrashRequest(screen.getContentResolver(), uris(paths), true), TRASH);
    }

    static void favourite(Activity screen, List<String> paths, boolean now) {
        ask(screen, MediaStore.createFavoriteRequest(screen.getContentResolver(), uris(paths), now), FAVOURITE);
    }

    private static void ask(Activity screen, PendingIntent question, int request) {
        try {
            screen.startIntentSenderForResult(question.getIntentSender(), request, null, 0, 0, 0);
        } catch (IntentSender.SendIntentException error) {
            Messages.showError(screen, error);
        }
    }

    /** Share photos with another app. */
    static void share(Activity screen, List<String> paths) {
        ArrayList<Uri> photos = uris(paths);
        Intent send = new Intent(photos.size() == 1 ? Intent.ACTION_SEND : Intent.ACTION_SEND_MULTIPLE)
            .setType(kind(paths)).addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        if (photos.size() == 1) {
            send.putExtra(Intent.EXTRA_STREAM, photos.get(0));
        } else {
            send.putParcelableArrayListExtra(Intent.EXTRA_STREAM, photos);
        }
        screen.startActivity(Intent.createChooser(send, screen.getString(R.string.share)));
    }

    /** The MIME type of photos, of videos, or of both. */
    static String kind(List<String> paths) {
        long videos = paths.stream().filter(path -> Moments.ms(path) != Moments.NONE).count();
        return videos == 0 ? "image/*" : videos == paths.size() ? "video/*" : "*/*";
    }

    private static ArrayList<Uri> uris(List<String> paths) {
        ArrayList<Uri> uris = new ArrayList<>();
        for (String path : paths) {
            uris.add(Uri.parse(MediaPath.uri(path)));
        }
        return uris;
    }
}
