package io.github.mcadmobile.platform;

import android.content.Context;
import android.database.ContentObserver;
import android.os.Handler;
import android.os.Looper;
import android.os.Process;
import android.util.Log;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.Waiting;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.BooleanSupplier;

/**
 * Indexes added and deleted photos at once while a screen is visible, and counts those left; jobs do it otherwise. Call
 * {@link #start} in {@code onResume} and {@link #stop} in {@code onPause}.
 */
public final class MediaFollower {
    /** Photos come in bursts. */
    private static final long REST_MS = 3000;

    private static final Handler SCREEN = new Handler(Looper.getMainLooper());
    /** One thread, so that registrations take effect in order. */
    private static final ExecutorService PROVIDER = Executors.newSingleThreadExecutor();

    private final Context context;
    private final PhotoSearch search;
    private final Runnable changed = () -> new Thread(this::follow, "follow").start();
    private final ContentObserver observer = new ContentObserver(SCREEN) {
        @Override
        public void onChange(boolean self) {
            SCREEN.removeCallbacks(changed);
            if (visible) {
                SCREEN.postDelayed(changed, REST_MS);
            }
        }
    };
    /** Main thread only. */
    private boolean visible;

    public MediaFollower(Context any) {
        context = any.getApplicationContext();
        search = MediaSearch.of(context);
    }

    public void start() {
        visible = true;
        PROVIDER.execute(() -> new MediaPhotos(context).collections(MediaPhotos.ALL).forEach(
            collection -> context.getContentResolver().registerContentObserver(collection, true, observer)));
        new Thread(this::look, "look").start();
    }

    public void stop() {
        visible = false;
        PROVIDER.execute(() -> context.getContentResolver().unregisterContentObserver(observer));
        SCREEN.removeCallbacks(changed);
    }

    private boolean maySee() {
        return new MediaPhotos(context).access() != PhotoAccess.State.NONE;
    }

    /** Count the photos that are left, and schedule background jobs. */
    private void look() {
        try {
            if (maySee()) {
                MediaSearch.keepUpToDate(context);
                search.count();
            }
        } catch (IOException | RuntimeException error) {
            Log.w(MediaSearch.TAG, error);
        }
    }

    /** Index changes, but only once there is an index: the user starts the first, long run. */
    private void follow() {
        Process.setThreadPriority(Process.THREAD_PRIORITY_BACKGROUND);
        BooleanSupplier wanted = () -> MediaSearch.waiting(context) == Waiting.NO;
        try {
            if (maySee() && wanted.getAsBoolean() && search.photos() > 0) {
                search.index(wanted);
            }
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            Log.w(MediaSearch.TAG, error);
        }
    }
}
