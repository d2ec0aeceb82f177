package mcad.gallery;

import java.io.IOException;
import java.util.concurrent.Executor;
import mcad.engine.SearchEngine;

/**
 * Results as one types: a search starts when typing rests, runs away from the screen's thread, and is shown only if
 * nothing was typed since. All methods are called on the screen's thread.
 */
public final class SearchBox {
    /** A pause between two letters of one word seldom lasts longer. */
    public static final long REST_MS = 250;

    /** Runs a task later on the screen's thread. */
    public interface Scheduler {
        void after(long ms, Runnable task);

        void cancel(Runnable task);
    }

    /** Answers a query, on any thread. */
    public interface Searcher {
        SearchEngine.Found search(String query) throws IOException;
    }

    /** Called on the screen's thread. */
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

    /** Search now for what was typed: the search key, or an index that has changed. */
    public void submit() {
        latest++;
        scheduler.cancel(start);
        if (!text.isEmpty()) {
            start();
        }
    }

    /** Search now for something else than words, which {@code name} names; what was typed is forgotten. */
    public void ask(String name, Searcher other) {
        text = "";
        forget();
        start(name, other);
    }

    /** Nothing that is still on its way will be shown. */
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
            show(number, () -> listener.failed(query, new IOException(error)));
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
