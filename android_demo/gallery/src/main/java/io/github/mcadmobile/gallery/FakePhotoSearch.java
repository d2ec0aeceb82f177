package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.SearchEngine;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import org.jspecify.annotations.Nullable;

/**
 * A stand-in for {@link PhotoSearch} in tests of an app's screens: it returns prepared results and needs neither a
 * phone nor ONNX Runtime.
 */
public final class FakePhotoSearch implements PhotoFinder {
    private final Map<String, List<SearchEngine.Result>> answers = new HashMap<>();
    private final List<Runnable> listeners = new CopyOnWriteArrayList<>();
    private final List<String> asked = new ArrayList<>();
    private Indexing indexing = Indexing.UNKNOWN;
    private @Nullable IOException failure;
    private int photos;

    /** Prepare results, best first, for words or for a photo's path; any other query finds nothing. */
    public synchronized void answer(String wordsOrPath, String... paths) {
        List<SearchEngine.Result> results = new ArrayList<>();
        for (String path : paths) {
            results.add(new SearchEngine.Result(path, 1f / (results.size() + 2)));
        }
        answers.put(wordsOrPath, results);
    }

    /** Make searches fail with {@code error}, or succeed again if null. */
    public synchronized void fail(@Nullable IOException error) {
        failure = error;
    }

    /** Set the progress of indexing and the number of searchable photos, and call the listeners. */
    public void become(Indexing now, int searchable) {
        synchronized (this) {
            indexing = now;
            photos = searchable;
        }
        listeners.forEach(Runnable::run);
    }

    /** The queries so far: words or paths of photos. */
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
            results.subList(0, Math.min(k, results.size())), Collections.emptyMap(), false, Collections.emptyList());
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

    /** Indexes nothing: {@link #become} sets the progress. */
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
