package mcad.gallery;

import java.io.IOException;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import mcad.engine.SearchEngine;

/**
 * What a screen asks of a search: {@link PhotoSearch} answers it over photos, {@link FakePhotoSearch} in an app's
 * tests. All methods may be called from any thread; those that throw IOException take their time, and are not for the
 * screen's.
 */
public interface PhotoFinder {
    /**
     * The {@code k} photos nearest to words, of those that can be seen now and that a filter passes. McadException if
     * there are no words, the text tower does not run, or the index cannot be read; one of kind DAMAGED when it has to
     * be built again by the next run.
     */
    SearchEngine.Found search(String words, int k, Filter filter) throws IOException;

    /** The same among all photos. */
    default SearchEngine.Found search(String words, int k) throws IOException {
        return search(words, k, Filter.ALL);
    }

    /**
     * The same without waiting: returns at once. A search that is cancelled before its turn never runs, so that one for
     * each letter costs little. It ends with the IOException that {@link #search} throws.
     */
    CompletableFuture<SearchEngine.Found> searchLater(String words, int k, Filter filter);

    /** The {@code k} photos most like one of the index, without itself. McadException if it is not there. */
    SearchEngine.Found moreLike(String path, int k, Filter filter) throws IOException;

    /** How many photos can be searched. */
    int photos() throws IOException;

    /**
     * Bring the index in step with the photos, on a thread of its own. Cancelling ends the run after the photo at hand;
     * what it has is committed. Empty when a run is on already, which then goes over the photos once more.
     */
    CompletableFuture<Optional<IndexRun.Outcome>> indexLater();

    /** How far indexing is. */
    Indexing indexing();

    /**
     * Add a listener that is called, on any thread, when {@link #indexing} changes or there are more photos to search.
     */
    void addListener(Runnable listener);

    void removeListener(Runnable listener);
}
