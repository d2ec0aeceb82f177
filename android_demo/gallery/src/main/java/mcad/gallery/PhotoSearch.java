package mcad.gallery;

import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import mcad.engine.Bundle;
import mcad.engine.BundleInstaller;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.index.PhotoIndex;
import mcad.engine.photos.PhotoDecoder;
import mcad.engine.towers.Ladder;
import org.jspecify.annotations.Nullable;

/**
 * Search over a phone's photos, whole: open it once for a process, {@link #index} from a service or a job, {@link
 * #search} from anywhere. All methods may be called from any thread; those that throw IOException take their time, and
 * are not for the screen's. Searches run on one thread inside, in the order in which they come; a commit of the index
 * is seen by the next search. Ladder, self-test and quarantine of the rungs, and the rebuilding of a damaged index, are
 * behind it.
 */
public final class PhotoSearch implements PhotoFinder, Closeable {
    /**
     * The surroundings of a search.
     *
     * @param bundle where the bundle's files come from: the app's assets
     * @param libraries folders that may hold native libraries of an NPU
     */
    public record Setup(BundleInstaller.Source bundle, List<File> libraries, PhotoLibrary library, PhotoDecoder decoder,
            Device device) {}

    /** Of so many photos the last is none that was asked for. */
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

    private PhotoSearch(Setup setup) {
        this.setup = setup;
        installed = new InstalledStudents(setup);
        photos = new ChosenPhotos(setup.library(), setup.device()::directory);
        finder = new Finder(setup, installed, photos, timings);
        indexer = new Indexer(setup, installed, photos, timings, finder::committed, this::switchStudent);
    }

    /** A process that does not close it ends all the same. */
    private static Thread thread(Runnable task) {
        Thread thread = new Thread(task, "photo-search");
        thread.setDaemon(true);
        return thread;
    }

    /** Nothing is read or loaded before it is needed. */
    public static PhotoSearch open(Setup setup) {
        return new PhotoSearch(setup);
    }

    /**
     * The bundle by which photos are found, copied to where a runtime can open it when it is first asked for
     * (megabytes). After an update with another student it is the previous bundle until all photos are embedded anew.
     */
    public Bundle bundle() throws IOException {
        return installed.searched().bundle();
    }

    @Override
    public SearchEngine.Found search(String words, int k, Filter filter) throws IOException {
        return call(searched(words, k, filter));
    }

    @Override
    public CompletableFuture<SearchEngine.Found> searchLater(String words, int k, Filter filter) {
        return later(searched(words, k, filter));
    }

    private Finder.Work<SearchEngine.Found> searched(String words, int k, Filter filter) {
        return () -> finder.find((index, rows, count) -> finder.engine().search(index, words, count, rows), k, filter);
    }

    /** The {@code k} photos most like one of the index, without itself. McadException if it is not there. */
    public SearchEngine.Found moreLike(String path, int k) throws IOException {
        return moreLike(path, k, Filter.ALL);
    }

    /** The same among the photos of some folders, or of some time, of which it need not be. */
    @Override
    public SearchEngine.Found moreLike(String path, int k, Filter filter) throws IOException {
        return find((index, rows, count) -> SearchEngine.moreLike(index, path, count, rows), k, filter);
    }

    /** The same of those that words describe, too: like this photo, but at night. */
    public SearchEngine.Found moreLike(String path, String words, int k, Filter filter) throws IOException {
        return find((index, rows, count) -> finder.engine().moreLike(index, path, words, count, rows), k, filter);
    }

    /** The {@code k} photos most like any photo: one that the user picked, or that another app shared. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, int k) throws IOException {
        return moreLike(photo, k, Filter.ALL);
    }

    /** The same among the photos of some folders, or of some time. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, int k, Filter filter) throws IOException {
        return call(() -> {
            float[] embedding = finder.embed(photo);
            return finder.find(
                (index, rows, count) -> SearchEngine.moreLike(index, embedding, count, rows), k, filter);
        });
    }

    /** The {@code most} photos that were taken last, indexed or not, among those of some folders, or of some time. */
    public List<PhotoLibrary.Item> recent(int most, Filter filter) throws IOException {
        Folders chosen = photos.chosen();
        return setup.library().recent(
            most, item -> chosen.takes(item.folder()) && filter.passes(item.folder(), item.takenMs()));
    }

    /**
     * Those of some queries that tell photos of this index apart best, best first: the nearest photos of each are much
     * nearer than the others.
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

    /** The same of those that words describe, too. */
    public SearchEngine.Found moreLike(PhotoDecoder.Source photo, String words, int k, Filter filter)
            throws IOException {
        return call(() -> {
            float[] query = finder.engine().compose(finder.embed(photo), words);
            return finder.find((index, rows, count) -> SearchEngine.moreLike(index, query, count, rows), k, filter);
        });
    }

    private SearchEngine.Found find(Finder.Query query, int k, Filter filter) throws IOException {
        return call(() -> finder.find(query, k, filter));
    }

    /**
     * From which cosine on two photos are so alike that only the first is found: a burst, a copy. 0.97 is a good one;
     * over 1, where it begins, hides none.
     */
    public void hideDuplicates(float cosine) {
        finder.hideDuplicates(cosine);
    }

    /** How many photos each folder has, those that are left out, too, as of the last look at the phone's photos. */
    public Map<String, Integer> folders() throws IOException {
        return photos.metadata().folders();
    }

    /** Which folders are indexed and found. */
    public Folders chosenFolders() {
        return photos.chosen();
    }

    /**
     * Index and find some folders alone, or all but some: kept beside the index. Photos of the others are not found
     * from now on, and the next {@link #index} drops them.
     */
    public void chooseFolders(Folders folders) throws IOException {
        photos.choose(folders);
    }

    /** Load what a search needs, so that the first takes no longer than the others. */
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

    /** Bytes of all that is stored for each photo. */
    public double bytesPerPhoto() throws IOException {
        return call(() -> finder.index().bytesPerPhoto());
    }

    /** The text tower as it was loaded, with what was passed over. */
    public Ladder.LoadedRung textTower() throws IOException {
        return call(() -> finder.engine().textTower());
    }

    /** The image tower of the last run; null before the first. */
    public Ladder.@Nullable LoadedRung imageTower() {
        return indexer.imageTower();
    }

    /** Give the text tower's memory back: the next search loads it again. Returns at once. */
    public void release() {
        worker.execute(finder::closeEngine);
    }

    /** Rungs over which the process died are tried again when towers are next loaded. */
    public void tryRungsAgain() throws IOException {
        call(() -> {
            installed.own().quarantine().clear();
            installed.searched().quarantine().clear();
            finder.closeEngine();
            return null;
        });
    }

    /**
     * Bring the index in step with the photos, on the calling thread and at its priority, until all is done or {@link
     * #stopIndexing}. When a run is on already, that one goes over the photos once more, and nothing is returned, at
     * once. IOException with the reason when it fails; what was committed is kept.
     */
    public Optional<IndexRun.Outcome> index() throws IOException {
        return index(() -> true);
    }

    /** The same as long as {@code wanted}, which is asked before each photo. */
    public Optional<IndexRun.Outcome> index(BooleanSupplier wanted) throws IOException {
        return indexer.index(false, wanted);
    }

    /** The same, after ending a run that is on; its batch is committed. */
    public IndexRun.Outcome indexInstead(BooleanSupplier wanted) throws IOException {
        return indexer.index(true, wanted).orElseThrow(IllegalStateException::new);
    }

    @Override
    public CompletableFuture<Optional<IndexRun.Outcome>> indexLater() {
        CompletableFuture<Optional<IndexRun.Outcome>> ended = new CompletableFuture<>();
        thread(() -> finish(ended, () -> index(() -> !ended.isCancelled()))).start();
        return ended;
    }

    /**
     * Wait until no run is on: a job in whose name none was begun holds the process meanwhile. Whether photos are left:
     * that run may have been stopped, or have failed.
     */
    public boolean awaitIndexing() throws InterruptedException {
        indexer.join();
        return indexer.state().left() > 0;
    }

    /** End a run that is on after the photo at hand; what it has is committed. */
    public void stopIndexing() {
        indexer.stop();
    }

    /**
     * Count the photos that are not indexed, for {@link #indexing}. Returns at once where the photos are those of the
     * last count or run; while a run is on, it counts itself.
     */
    public void count() throws IOException {
        if (indexer.state().isCounted() && photos.isListed()) {
            return;
        }
        PhotoLibrary.Listing listing = photos.list();
        int all = listing.items().size();
        try (PhotoIndex own = installed.own().openIndex()) { // a search need not wait for it
            Difference difference = Difference.of(photos, listing, own.membership(),
                item -> Stamps.ofState(item, setup.decoder.revision(item.kind())));
            indexer.counted(all - difference.work.size(), all);
        }
    }

    /**
     * Measure on a few photos how many can be indexed in a minute, for {@link #indexing}: a second or two of work, of
     * which nothing is kept. Nothing while a run is on, which measures itself.
     */
    public void estimate() throws IOException {
        indexer.estimate();
    }

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

    /** Delete the index, and the photos' folders and times. */
    public void clear() throws IOException {
        indexer.alone(() -> {
            switchStudent();
            installed.own().recreateIndex();
            photos.forget();
        });
        indexer.report(Indexing.UNKNOWN, true);
    }

    /** Ends a run, and waits for it. */
    @Override
    public void close() throws IOException {
        indexer.alone(() -> { });
        call(() -> {
            finder.close();
            return null;
        });
        worker.shutdown();
    }

    private void switchStudent() throws IOException {
        call(() -> {
            finder.switchStudent();
            return null;
        });
    }

    /** Run on the worker and wait. */
    private <T> T call(Finder.Work<T> work) throws IOException {
        try {
            return later(work).get();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof IOException io) {
                throw io;
            }
            throw new IOException(error.getCause());
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new IOException(interrupted);
        }
    }

    /** Run on the worker, unless it is cancelled before. */
    private <T> CompletableFuture<T> later(Finder.Work<T> work) {
        CompletableFuture<T> answer = new CompletableFuture<>();
        worker.execute(() -> {
            if (!answer.isCancelled()) {
                finish(answer, () -> watched(work));
            }
        });
        return answer;
    }

    private <T> T watched(Finder.Work<T> work) throws IOException {
        try {
            return finder.withFallback(work);
        } catch (McadException error) {
            if (error.kind == McadException.Kind.DAMAGED) {
                indexer.damaged();
            }
            throw error;
        }
    }

    private static <T> void finish(CompletableFuture<T> answer, Finder.Work<T> work) {
        try {
            answer.complete(work.run());
        } catch (IOException | RuntimeException | Error error) {
            answer.completeExceptionally(error);
        }
    }
}
