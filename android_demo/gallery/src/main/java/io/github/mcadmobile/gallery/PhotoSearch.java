package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.QueryPart;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.IoSupplier;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.PhotoBytes;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.function.Predicate;
import java.util.function.ToIntFunction;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Search over a photo library: open it once per process, {@link #index} from a service or a job, {@link #search} from
 * anywhere. All methods may be called from any thread, but those that throw IOException block, so keep them off the
 * main thread. Searches run one by one on an internal thread; each sees the last commit of the index. Choosing and
 * quarantining rungs, the self-test and rebuilding a damaged index happen inside.
 */
public final class PhotoSearch implements PhotoFinder, Closeable {
    /**
     * What a search needs from its app.
     *
     * @param bundle opens the bundle's files: the app's assets
     * @param libraries folders that may hold an NPU's native libraries
     */
    public record Setup(BundleInstaller.Source bundle, List<File> libraries, PhotoLibrary library, PhotoDecoder decoder,
            Device device) {}

    /** The last of this many results is taken to be unrelated to the query. */
    private static final int COMPARED = 100;
    private static final int NEAREST = 3;

    /** Measured durations of each stage on this phone. */
    public final Timings timings = new Timings();

    private final Setup setup;
    private final ExecutorService worker = Executors.newSingleThreadExecutor(PhotoSearch::thread);
    private final InstalledStudents installed;
    private final ChosenPhotos photos;
    private final Finder finder;
    private final Indexer indexer;
    private final List<Runnable> whenClosed = new CopyOnWriteArrayList<>();

    private PhotoSearch(Setup setup) {
        this.setup = setup;
        installed = new InstalledStudents(setup);
        photos = new ChosenPhotos(setup.library(), setup.device()::directory);
        finder = new Finder(setup, installed, photos, timings);
        indexer = new Indexer(setup, installed, photos, timings, finder::committed, this::switchStudent);
    }

    /** A daemon thread: it does not keep the process alive. */
    private static Thread thread(Runnable task) {
        Thread thread = new Thread(task, "photo-search");
        thread.setDaemon(true);
        return thread;
    }

    /** Returns at once: files are read and towers loaded when first needed. */
    public static PhotoSearch open(Setup setup) {
        return new PhotoSearch(setup);
    }

    /**
     * The bundle that searches use, with the text tower for the phone's language. The first call copies it (megabytes)
     * to where a runtime can open it. After an update with another student this is the previous bundle until all photos
     * are embedded again.
     */
    public Bundle bundle() throws IOException {
        return installed.bundle();
    }

    @Override
    public SearchEngine.Found search(String words, int k, Filter filter) throws IOException {
        return call(searched(words, k, filter));
    }

    /** By what photos show alone, or by their words. McadException for words in an index that has none. */
    public SearchEngine.Found search(String words, int k, Filter filter, SearchEngine.Channel by) throws IOException {
        return find((index, rows, count) -> finder.engine().search(index, words, count, rows, by), k, filter);
    }

    @Override
    public CompletableFuture<SearchEngine.Found> searchLater(String words, int k, Filter filter) {
        return later(searched(words, k, filter));
    }

    private IoSupplier<SearchEngine.Found> searched(String words, int k, Filter filter) {
        return () -> finder.find((index, rows, count) -> finder.engine().search(index, words, count, rows), k, filter);
    }

    /**
     * The {@code k} photos that fit weighted words and indexed photos best, such as a photo, "flowers" a little and
     * "people" less: a weight below 0 excludes. McadException if a photo is not indexed or the parts cancel out.
     */
    public SearchEngine.Found search(List<QueryPart> parts, int k, Filter filter) throws IOException {
        return find((index, rows, count) -> finder.engine().search(index, parts, count, rows), k, filter);
    }

    /** The {@code k} photos most like an indexed photo, without that photo. McadException if it is not indexed. */
    public SearchEngine.Found moreLike(String path, int k) throws IOException {
        return moreLike(path, k, Filter.ALL);
    }

    /** As {@link #moreLike(String, int)}, among photos that pass the filter, which {@code path} itself need not. */
    @Override
    public SearchEngine.Found moreLike(String path, int k, Filter filter) throws IOException {
        return find((index, rows, count) -> SearchEngine.moreLike(index, path, count, rows), k, filter);
    }

    /** Photos that are like an indexed photo and fit the words: like this photo, but at night. */
    public SearchEngine.Found moreLike(String path, String words, int k, Filter filter) throws IOException {
        return find((index, rows, count) -> finder.engine().moreLike(index, path, words, count, rows), k, filter);
    }

    /** The {@code k} photos most like a photo that need not be indexed: picked by the user or shared by another app. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, int k) throws IOException {
        return moreLike(photo, k, Filter.ALL);
    }

    /** As {@link #moreLike(PhotoDecoder.Source, int)}, among the photos that pass the filter. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, int k, Filter filter) throws IOException {
        return find(photo, embedding -> (index, rows, count) -> SearchEngine.moreLike(index, embedding, count, rows),
            k, filter);
    }

    /** Photos that are like {@code photo} and fit the words. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, String words, int k, Filter filter)
            throws IOException {
        return find(photo, embedding -> (index, rows, count) -> finder.engine().moreLike(
            index, embedding, words, count, rows), k, filter);
    }

    /** The {@code most} last taken photos that pass the filter, newest first, indexed or not. */
    public List<PhotoLibrary.Item> recent(int most, Filter filter) throws IOException {
        return recent(most, filter, path -> true);
    }

    /** As {@link #recent}, of the photos that a search can find now. */
    public List<PhotoLibrary.Item> searchable(int most, Filter filter) throws IOException {
        return call(() -> {
            PhotoIndex index = finder.index();
            return index.photos() == 0 ? Collections.emptyList() : recent(most, filter, path -> {
                try {
                    return index.embedding(path) != null;
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            });
        });
    }

    private List<PhotoLibrary.Item> recent(int most, Filter filter, Predicate<String> wanted) throws IOException {
        Folders chosen = photos.chosen();
        return setup.library().recent(most, item -> chosen.takes(item.folder())
            && filter.passes(item.folder(), item.takenMs(), item.isVideo()) && wanted.test(item.path()));
    }

    /**
     * The queries that separate the photos of this index best, best first: their nearest photos score much higher than
     * the others.
     */
    public List<String> clearest(List<String> queries, int most) throws IOException {
        Map<String, Float> margins = new HashMap<>();
        for (String words : queries) {
            List<SearchEngine.Result> results = search(words, COMPARED).results();
            margins.put(words, results.isEmpty() ? 0f : results.get(Math.min(NEAREST, (results.size() + 1) / 2) - 1).score()
                - results.get(results.size() - 1).score());
        }
        return queries.stream().filter(words -> margins.get(words) > 0)
            .sorted(Comparator.comparing(margins::get).reversed()).limit(most).collect(Collectors.toList());
    }

    /** Read a photo on the caller's thread: another app may fetch it over a slow network, and searches must not wait. */
    private static PhotoDecoder.Source read(PhotoDecoder.Source photo) throws IOException {
        try {
            return PhotoBytes.of(photo, 0);
        } catch (RuntimeException error) { // thrown by the other app
            throw McadException.unforeseen(error);
        }
    }

    private SearchEngine.Found find(Finder.Query query, int k, Filter filter) throws IOException {
        return call(() -> finder.find(query, k, filter));
    }

    /** Search by a query that takes the photo's embedding. */
    private SearchEngine.Found find(
            PhotoDecoder.Source photo, Function<float[], Finder.Query> query, int k, Filter filter) throws IOException {
        PhotoDecoder.Source read = read(photo);
        return call(() -> finder.find(query.apply(finder.embed(read)), k, filter));
    }

    /**
     * Put a result whose cosine with an earlier one is at least {@code cosine} on its stack: a burst, copies. Only the
     * first is a result; the others are its {@code copies}. 0.97 works well; a value over 1, the default, stacks none.
     */
    public void stackDuplicates(float cosine) {
        finder.stackDuplicates(cosine);
    }

    /** The number of photos in each folder, excluded folders too, as of the last listing of the phone's photos. */
    public Map<String, Integer> folders() throws IOException {
        return photos.metadata().folders();
    }

    /** The choice of {@link #chooseFolders}. The first call reads a small file, so keep it off the main thread. */
    public Folders chosenFolders() {
        return photos.chosen();
    }

    /**
     * Choose the folders that are indexed and searched. The choice is saved beside the index. Photos of the other
     * folders are hidden from now on, and the next {@link #index} drops them.
     */
    public void chooseFolders(Folders folders) throws IOException {
        photos.choose(folders);
    }

    /** Whether photos have words: a bundle that reads text indexed them. */
    public boolean hasWords() throws IOException {
        return call(() -> finder.index().hasWords());
    }

    /** The text in an indexed photo and the names of its place; without any if there are none or it is not indexed. */
    public PhotoWords words(String path) throws IOException {
        return call(() -> {
            PhotoWords words = finder.index().words(path);
            return words == null ? PhotoWords.NONE : words;
        });
    }

    /** Open the index and load the text tower, so that the first search is as fast as later ones. */
    public void warmUp() throws IOException {
        call(() -> {
            finder.index();
            return finder.engine();
        });
    }

    @Override
    public int photos() throws IOException {
        return call(() -> finder.index().photos());
    }

    /** Bytes that the index stores per photo. */
    public double bytesPerPhoto() throws IOException {
        return call(() -> finder.index().bytesPerPhoto());
    }

    /** The loaded text tower, with the rungs that were skipped. */
    public Ladder.LoadedRung textTower() throws IOException {
        return call(() -> finder.engine().textTower());
    }

    /** The image tower of the last indexing run; null before the first. */
    public Ladder.@Nullable LoadedRung imageTower() {
        return indexer.imageTower();
    }

    /**
     * Add a listener, told why the NPU is not used for a tower, if the bundle has files for an NPU: each time that the
     * tower is loaded from now on, on the loading thread.
     */
    public void addNpuListener(Ladder.NpuListener listener) {
        installed.npuListeners.add(listener);
    }

    public void removeNpuListener(Ladder.NpuListener listener) {
        installed.npuListeners.remove(listener);
    }

    /** Free the text tower's memory; the next search loads it again. Returns at once. */
    public void release() {
        try {
            worker.execute(finder::closeEngine);
        } catch (RejectedExecutionException closed) {
            // Its memory is already free.
        }
    }

    /** Clear the quarantine: rungs that crashed the process are tried again when towers are next loaded. */
    public void tryRungsAgain() throws IOException {
        call(() -> {
            installed.own().quarantine().clear();
            installed.searched().quarantine().clear();
            finder.closeEngine();
            return null;
        });
    }

    /**
     * Index new, changed, moved and deleted photos, on the calling thread and at its priority, until all are done or
     * {@link #stopIndexing}. If a run is active, that run makes another pass and this call returns empty at once.
     * IOException with the reason if the run fails; what was committed is kept.
     */
    public Optional<IndexRun.Outcome> index() throws IOException {
        return index(() -> true);
    }

    /** As {@link #index()}, but stop when {@code wanted}, checked before each photo, returns false. */
    public Optional<IndexRun.Outcome> index(BooleanSupplier wanted) throws IOException {
        checkOpen();
        return indexer.index(false, wanted);
    }

    /** As {@link #index(BooleanSupplier)}, after stopping an active run; its batch is committed. */
    public IndexRun.Outcome indexInstead(BooleanSupplier wanted) throws IOException {
        checkOpen();
        return indexer.index(true, wanted).orElseThrow(
            () -> new IllegalStateException("A run that replaces another did not start."));
    }

    @Override
    public CompletableFuture<Optional<IndexRun.Outcome>> indexLater() {
        CompletableFuture<Optional<IndexRun.Outcome>> ended = new CompletableFuture<>();
        thread(() -> finish(ended, () -> index(() -> !ended.isCancelled()))).start();
        return ended;
    }

    /**
     * Wait until no run is active: a job that did not start the run holds the process meanwhile. True if photos are
     * left, because the run was stopped or failed.
     */
    public boolean awaitIndexing() throws InterruptedException {
        indexer.join();
        return indexer.state().left() > 0 || indexer.state().unread() > 0;
    }

    /** Stop an active run after the current photo; its batch is committed. */
    public void stopIndexing() {
        indexer.stop();
    }

    /**
     * Count the photos that are not indexed, without those that the last run could not read, for {@link #indexing}.
     * Returns at once if nothing changed since the last count or run. A run keeps its own count.
     */
    public void count() throws IOException {
        if (indexer.state().isCounted() && photos.isListed()) {
            return;
        }
        PhotoLibrary.Listing listing = photos.list();
        int all = listing.items().size();
        try (PhotoIndex own = installed.own().openIndex()) { // its own handle: searches need not wait
            ToIntFunction<PhotoLibrary.Item> stamp = item -> Stamps.ofState(item, setup.decoder.revision(item.kind()));
            LibraryState lastRun = LibraryState.open(installed.own().index());
            int left = 0;
            int unreadable = 0;
            for (PhotoLibrary.Item item : ChangedPhotos.of(photos, listing, own.membership(), stamp).work) {
                if (lastRun.isUnreadable(item, stamp.applyAsInt(item))) {
                    unreadable++;
                } else {
                    left++;
                }
            }
            indexer.counted(all - left, all, unreadable);
        }
    }

    /**
     * Measure the indexing rate on a few photos, for {@link #indexing}: takes a second or two and stores nothing. Does
     * nothing during a run, which measures its own rate.
     */
    public void estimate() throws IOException {
        indexer.estimate();
    }

    /** Whether a run is active. */
    public boolean isIndexing() {
        return indexer.isRunning();
    }

    @Override
    public Indexing indexing() {
        return indexer.state().changing(installed.previous() != null);
    }

    @Override
    public void addListener(Runnable listener) {
        indexer.addListener(listener);
    }

    @Override
    public void removeListener(Runnable listener) {
        indexer.removeListener(listener);
    }

    /** Delete the index, the record of photos that crashed the app, and the cached folders and dates of the photos. */
    public void clear() throws IOException {
        indexer.alone(() -> {
            switchStudent();
            installed.own().recreateIndex();
            CrashRecord.delete(installed.own().index());
            photos.forget();
            indexer.forget();
        });
        indexer.notifyListeners(true);
    }

    /** Run a task when this search is closed: to undo what was done for it. */
    public void onClose(Runnable task) {
        whenClosed.add(task);
    }

    /**
     * Stop an active run, wait for its end, and free the towers. Later searches and runs fail; closing again does
     * nothing.
     */
    @Override
    public synchronized void close() throws IOException {
        if (worker.isShutdown()) {
            return;
        }
        indexer.alone(() -> {
            call(() -> {
                finder.close();
                return null;
            });
            worker.shutdown();
        });
        whenClosed.forEach(Runnable::run);
    }

    private void checkOpen() throws McadException {
        if (worker.isShutdown()) {
            throw closed();
        }
    }

    private static McadException closed() {
        return new McadException("This search is closed.", "Open another with MediaSearch.open.");
    }

    private void switchStudent() throws IOException {
        call(() -> {
            finder.switchStudent();
            return null;
        });
    }

    private <T> T call(IoSupplier<T> work) throws IOException {
        try {
            return later(work).get();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof IOException io) {
                throw io;
            }
            throw McadException.unforeseen(error.getCause());
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new McadException(
                "The thread was interrupted before the answer came.", "Call it again.", interrupted);
        }
    }

    /** Run on the worker, unless cancelled before its turn. */
    private <T> CompletableFuture<T> later(IoSupplier<T> work) {
        CompletableFuture<T> answer = new CompletableFuture<>();
        try {
            worker.execute(() -> {
                if (!answer.isCancelled()) {
                    finish(answer, () -> withDamageReport(work));
                }
            });
        } catch (RejectedExecutionException shutDown) {
            answer.completeExceptionally(closed());
        }
        return answer;
    }

    private <T> T withDamageReport(IoSupplier<T> work) throws IOException {
        try {
            return finder.withFallback(work);
        } catch (McadException error) {
            if (error.kind == McadException.Kind.DAMAGED) {
                indexer.damaged();
            }
            throw error;
        }
    }

    private static <T> void finish(CompletableFuture<T> answer, IoSupplier<T> work) {
        try {
            answer.complete(work.get());
        } catch (IOException | RuntimeException | Error error) {
            answer.completeExceptionally(error);
        }
    }
}
