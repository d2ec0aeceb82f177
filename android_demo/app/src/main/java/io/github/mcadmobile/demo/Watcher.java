package io.github.mcadmobile.demo;

import android.content.Context;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.platform.MediaFollower;
import java.util.concurrent.atomic.AtomicBoolean;

/** Updates a visible screen with the progress of indexing, and follows changes of the photos meanwhile. */
final class Watcher {
    /** Faster updates could not be read. */
    private static final long SCREEN_MS = 250;

    private final PhotoSearch search;
    private final MediaFollower follower;
    private final Runnable show;
    private final Runnable listener = this::changed;
    private final Runnable later = this::show;
    private final AtomicBoolean waiting = new AtomicBoolean();

    /** {@code show} is called on the main thread. */
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

    /** Called on any thread, after each photo. */
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
