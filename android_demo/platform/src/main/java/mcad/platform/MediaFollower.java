package mcad.platform;

import android.content.Context;
import android.database.ContentObserver;
import android.os.Handler;
import android.os.Looper;
import android.os.Process;
import android.provider.MediaStore;
import android.util.Log;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.BooleanSupplier;
import mcad.gallery.PhotoAccess;
import mcad.gallery.PhotoSearch;
import mcad.gallery.Waiting;

/**
 * While a screen is visible, photos that come and go are indexed at once, and what is left is counted; jobs do it
 * otherwise. {@link #start} and {@link #stop} are for {@code onResume} and {@code onPause}.
 */
public final class MediaFollower {
    /** Photos come in bursts. */
    private static final long REST_MS = 3000;

    private static final Handler SCREEN = new Handler(Looper.getMainLooper());
    /** In the order in which they come: who is registered last is the one that counts. */
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
    /** On the screen's thread. */
    private boolean visible;

    public MediaFollower(Context any) {
        context = any.getApplicationContext();
        search = MediaSearch.of(context);
    }

    public void start() {
        visible = true;
        PROVIDER.execute(() -> context.getContentResolver().registerContentObserver(
            MediaStore.Images.Media.EXTERNAL_CONTENT_URI, true, observer));
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

    /** What is left, and that it is done in the background, too. */
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

    /** Not before the user wanted an index: a first run is long. */
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
