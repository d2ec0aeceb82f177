package mcad.gallery;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import mcad.engine.SearchEngine;
import org.jspecify.annotations.Nullable;

/**
 * A search without photos, for the tests of an app's screens: it finds what it was told to. It needs neither a phone
 * nor ONNX Runtime.
 */
public final class FakePhotoSearch implements PhotoFinder {
    private final Map<String, List<SearchEngine.Result>> answers = new HashMap<>();
    private final List<Runnable> listeners = new CopyOnWriteArrayList<>();
    private final List<String> asked = new ArrayList<>();
    private Indexing indexing = Indexing.UNKNOWN;
    private @Nullable IOException failure;
    private int photos;

    /** Find photos, best first, for words or for the path of a photo; for others nothing is found. */
    public synchronized void answer(String wordsOrPath, String... paths) {
        List<SearchEngine.Result> results = new ArrayList<>();
        for (String path : paths) {
            results.add(new SearchEngine.Result(path, 1f / (results.size() + 2)));
        }
        answers.put(wordsOrPath, results);
    }

    /** Fail from now on; null: no more. */
    public synchronized void fail(@Nullable IOException error) {
        failure = error;
    }

    /** Indexing is so far, and so many photos can be searched; listeners are called. */
    public void become(Indexing now, int searchable) {
        synchronized (this) {
            indexing = now;
            photos = searchable;
        }
        listeners.forEach(Runnable::run);
    }

    /** What was searched for: words, or paths of photos. */
    public synchronized List<String> asked() {
        return new ArrayList<>(asked);
    }

    @Override
    public synchronized SearchEngine.Found search(String words, int k, Filter filter) throws IOException {
        asked.add(words);
        if (failure != null) {
            throw failure;
        }
        List<SearchEngine.Result> results = answers.getOrDefault(words, Collections.emptyList());
        return new SearchEngine.Found(
            results.subList(0, Math.min(k, results.size())), Collections.emptyMap(), false);
    }

    @Override
    public CompletableFuture<SearchEngine.Found> searchLater(String words, int k, Filter filter) {
        CompletableFuture<SearchEngine.Found> answer = new CompletableFuture<>();
        try {
            answer.complete(search(words, k, filter));
        } catch (IOException error) {
            answer.completeExceptionally(error);
        }
        return answer;
    }

    @Override
    public SearchEngine.Found moreLike(String path, int k, Filter filter) throws IOException {
        return search(path, k, filter);
    }

    @Override
    public synchronized int photos() throws IOException {
        return photos;
    }

    /** Nothing is indexed: {@link #become} says how far it is. */
    @Override
    public CompletableFuture<Optional<IndexRun.Outcome>> indexLater() {
        return CompletableFuture.completedFuture(Optional.empty());
    }

    @Override
    public synchronized Indexing indexing() {
        return indexing;
    }

    @Override
    public void addListener(Runnable listener) {
        listeners.add(listener);
    }

    @Override
    public void removeListener(Runnable listener) {
        listeners.remove(listener);
    }
}
