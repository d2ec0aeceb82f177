package io.github.mcadmobile.demo;

import android.os.Handler;
import io.github.mcadmobile.gallery.SearchBox;

/** Runs tasks later on the main thread. */
record ScreenScheduler(Handler handler) implements SearchBox.Scheduler {
    @Override
    public void after(long ms, Runnable task) {
        handler.postDelayed(task, ms);
    }

    @Override
    public void cancel(Runnable task) {
        handler.removeCallbacks(task);
    }
}
