package io.github.mcadmobile.demo;

import android.app.Application;
import android.app.Notification;
import android.app.PendingIntent;
import android.content.Intent;
import android.graphics.drawable.Icon;
import android.os.Handler;
import android.os.Looper;
import io.github.mcadmobile.gallery.Indexing;
import io.github.mcadmobile.platform.IndexingNotice;
import io.github.mcadmobile.platform.MediaSearch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** The main thread, a worker thread for slow work, and the notification's text. */
public final class DemoApp extends Application implements IndexingNotice {
    /** How many results a search returns: ten screens full of tiles. */
    static final int RESULTS = 120;

    static final Handler SCREEN = new Handler(Looper.getMainLooper());
    static final ExecutorService WORKER = Executors.newSingleThreadExecutor();

    @Override
    public void word(Notification.Builder notification, Indexing state) {
        // Return to the existing search from any screen above it.
        Intent open = new Intent(this, SearchActivity.class).addFlags(
            Intent.FLAG_ACTIVITY_CLEAR_TOP | Intent.FLAG_ACTIVITY_SINGLE_TOP);
        String text = Messages.progress(this, state);
        notification.setSmallIcon(R.drawable.ic_notification)
            .setContentTitle(getString(R.string.indexing))
            .setContentText(text)
            .setStyle(new Notification.BigTextStyle().bigText(text)) // without it, only the first line is shown
            .setContentIntent(PendingIntent.getActivity(this, 0, open, PendingIntent.FLAG_IMMUTABLE))
            .addAction(action(R.string.pause, MediaSearch.pauseIntent(this)))
            .addAction(action(R.string.stop, MediaSearch.stopIntent(this)));
    }

    private Notification.Action action(int text, PendingIntent intent) {
        return new Notification.Action.Builder((Icon) null, getString(text), intent).build();
    }
}
