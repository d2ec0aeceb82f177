package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import java.io.IOException;
import java.util.concurrent.Executor;

/**
 * Search as you type: a search starts when typing pauses, runs off the main thread, and is shown only if the text has
 * not changed since. Call all methods on the main thread.
 */
public final class SearchBox {
    /** How long, in ms, typing must pause before a search starts; pauses within a word are seldom longer. */
    public static final long REST_MS = 250;

    /** Runs a task later on the main thread. */
    public interface Scheduler {
        void after(long ms, Runnable task);

        void cancel(Runnable task);
    }

    /** Answers a query, on any thread. */
    public interface Searcher {
        SearchEngine.Found search(String query) throws IOException;
    }

    /** Called on the main thread. */
    public interface Listener {
        void cleared();

        void searching(String query);

        void found(String query, SearchEngine.Found found);

        void failed(String query, IOException error);
    }

    private final Scheduler scheduler;
    private final Executor worker;
    private final Executor screen;
    private final Searcher searcher;
    private final Listener listener;
    private final Runnable start = this::start;
    private volatile int latest;
    private String text = "";

    public SearchBox(Scheduler scheduler, Executor worker, Executor screen, Searcher searcher, Listener listener) {
        this.scheduler = scheduler;
        this.worker = worker;
        this.screen = screen;
        this.searcher = searcher;
        this.listener = listener;
    }

    /** The text has changed. */
    public void type(String typed) {
        String trimmed = typed.trim();
        if (trimmed.equals(text)) {
            return;
        }
        text = trimmed;
        latest++;
        scheduler.cancel(start);
        if (text.isEmpty()) {
            listener.cleared();
        } else {
            scheduler.after(REST_MS, start);
        }
    }

    /** Search now for the typed text: the user pressed search, or the index changed. */
    public void submit() {
        latest++;
        scheduler.cancel(start);
        if (!text.isEmpty()) {
            start();
        }
    }

    /** Search now with {@code other} instead of the typed text, which is cleared; {@code name} names the query. */
    public void ask(String name, Searcher other) {
        text = "";
        forget();
        start(name, other);
    }

    /** Discard pending searches and their results. */
    public void forget() {
        latest++;
        scheduler.cancel(start);
    }

    private void start() {
        start(text, searcher);
    }

    private void start(String query, Searcher by) {
        int number = latest;
        listener.searching(query);
        worker.execute(() -> search(number, query, by));
    }

    private void search(int number, String query, Searcher by) {
        if (number != latest) {
            return;
        }
        try {
            SearchEngine.Found found = by.search(query);
            show(number, () -> listener.found(query, found));
        } catch (IOException error) {
            show(number, () -> listener.failed(query, error));
        } catch (RuntimeException error) {
            show(number, () -> listener.failed(query, McadException.unforeseen(error)));
        }
    }

    private void show(int number, Runnable task) {
        screen.execute(() -> {
            if (number == latest) {
                task.run();
            }
        });
    }
}
