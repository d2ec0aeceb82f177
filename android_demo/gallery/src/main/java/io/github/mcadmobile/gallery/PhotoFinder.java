package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.SearchEngine;
import java.io.IOException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * The search interface that screens use: {@link PhotoSearch} searches photos, {@link FakePhotoSearch} stands in for it
 * in an app's tests. All methods may be called from any thread, but those that throw IOException block, so keep them
 * off the main thread.
 */
public interface PhotoFinder {
    /**
     * The {@code k} photos nearest to {@code words}, among those that the app can see now and that pass the filter.
     * McadException if there are no words, the text tower does not run, the app may not see photos (kind ACCESS), or the
     * index cannot be read; kind DAMAGED means that the next run rebuilds the index.
     */
    SearchEngine.Found search(String words, int k, Filter filter) throws IOException;

    /** As {@link #search(String, int, Filter)}, among all photos. */
    default SearchEngine.Found search(String words, int k) throws IOException {
        return search(words, k, Filter.ALL);
    }

    /**
     * Search in the background; returns at once. A search that is cancelled before its turn never runs, so a search per
     * keystroke costs little. The future fails with the IOException that {@link #search} throws.
     */
    CompletableFuture<SearchEngine.Found> searchLater(String words, int k, Filter filter);

    /** The {@code k} photos most like an indexed photo, without that photo. McadException if it is not indexed. */
    SearchEngine.Found moreLike(String path, int k, Filter filter) throws IOException;

    /** How many photos can be searched. */
    int photos() throws IOException;

    /**
     * Index new, changed, moved and deleted photos on a background thread. Cancelling stops the run after the current
     * photo; its batch is committed. Empty if a run is active, which then makes another pass.
     */
    CompletableFuture<Optional<IndexRun.Outcome>> indexLater();

    /** The progress of indexing. */
    Indexing indexing();

    /**
     * Add a listener, called when {@link #indexing} changes or more photos can be searched. It is called on any thread,
     * so an app posts to its main thread to change views; what the listener throws is only logged.
     */
    void addListener(Runnable listener);

    void removeListener(Runnable listener);
}
