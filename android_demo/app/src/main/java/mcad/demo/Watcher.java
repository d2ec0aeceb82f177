package mcad.demo;

import android.content.Context;
import android.database.ContentObserver;
import android.provider.MediaStore;
import java.io.IOException;
import java.util.concurrent.atomic.AtomicBoolean;
import mcad.engine.gallery.PhotoAccess;
import mcad.engine.gallery.PhotoSearch;
import mcad.platform.MediaPhotos;
import mcad.platform.MediaSearch;

/** While a screen is visible: photos that come and go are indexed at once, and the screen hears how far it is. */
final class Watcher {
    /** Photos come in bursts. */
    private static final long REST_MS = 3000;
    /** So often a screen can be read. */
    private static final long SCREEN_MS = 250;

    private final Context context;
    private final PhotoSearch search;
    private final Runnable show;
    private final Runnable listener = this::told;
    private final Runnable later = this::show;
    private final AtomicBoolean waiting = new AtomicBoolean();
    private final Runnable changed = () -> new Thread(this::follow, "follow").start();
    private final ContentObserver observer = new ContentObserver(DemoApp.SCREEN) {
        @Override
        public void onChange(boolean self) {
            DemoApp.SCREEN.removeCallbacks(changed);
            DemoApp.SCREEN.postDelayed(changed, REST_MS);
        }
    };

    /** {@code show} is called on the screen's thread. */
    Watcher(Context context, PhotoSearch search, Runnable show) {
        this.context = context;
        this.search = search;
        this.show = show;
    }

    void start() {
        search.addListener(listener);
        DemoApp.WORKER.execute(() -> context.getContentResolver().registerContentObserver(
            MediaStore.Images.Media.EXTERNAL_CONTENT_URI, true, observer));
        new Thread(this::look, "look").start();
    }

    void stop() {
        search.removeListener(listener);
        DemoApp.WORKER.execute(() -> context.getContentResolver().unregisterContentObserver(observer));
        DemoApp.SCREEN.removeCallbacks(changed);
        DemoApp.SCREEN.removeCallbacks(later);
        waiting.set(false);
    }

    /** On any thread, photo by photo: the screen is told now and then. */
    private void told() {
        if (waiting.compareAndSet(false, true)) {
            DemoApp.SCREEN.postDelayed(later, SCREEN_MS);
        }
    }

    private void show() {
        waiting.set(false);
        show.run();
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
            Words.log(error);
        }
    }

    /** Not before the user wanted an index: a first run is long. */
    private void follow() {
        try {
            if (maySee() && MediaSearch.mayFollow(context) && search.photos() > 0) {
                search.index();
            }
        } catch (IOException | RuntimeException error) {
            Words.log(error);
        }
    }
}
