package mcad.demo;

import android.content.Context;
import java.util.concurrent.atomic.AtomicBoolean;
import mcad.gallery.PhotoSearch;
import mcad.platform.MediaFollower;

/** While a screen is visible, it hears now and then how far indexing is, which follows the photos. */
final class Watcher {
    /** So often a screen can be read. */
    private static final long SCREEN_MS = 250;

    private final PhotoSearch search;
    private final MediaFollower follower;
    private final Runnable show;
    private final Runnable listener = this::changed;
    private final Runnable later = this::show;
    private final AtomicBoolean waiting = new AtomicBoolean();

    /** {@code show} is called on the screen's thread. */
    Watcher(Context context, PhotoSearch search, Runnable show) {
        this.search = search;
        this.show = show;
        follower = new MediaFollower(context);
    }

    void start() {
        search.addListener(listener);
        follower.start();
    }

    void stop() {
        follower.stop();
        search.removeListener(listener);
        DemoApp.SCREEN.removeCallbacks(later);
        waiting.set(false);
    }

    /** On any thread, photo by photo. */
    private void changed() {
        if (waiting.compareAndSet(false, true)) {
            DemoApp.SCREEN.postDelayed(later, SCREEN_MS);
        }
    }

    private void show() {
        waiting.set(false);
        show.run();
    }
}
