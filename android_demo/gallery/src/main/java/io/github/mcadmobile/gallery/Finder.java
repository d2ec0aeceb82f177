package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.IoSupplier;
import io.github.mcadmobile.engine.index.PassingRows;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.index.RowNumbers;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.Closeable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/** The half of {@link PhotoSearch} that searches. Confined to the search thread. */
final class Finder implements Closeable {
    private static final int WIDER = 4;
    private static final int MOST_STACKED = 10_000;
    private static final float NO_STACKS = 2;
    /** Errors after which a bundle or an index cannot be used at all. */
    private static final Set<McadException.Kind> BROKEN = EnumSet.of(McadException.Kind.BUNDLE,
        McadException.Kind.TOWER, McadException.Kind.INDEX, McadException.Kind.DAMAGED);

    private final PhotoSearch.Setup setup;
    private final InstalledStudents installed;
    private final ChosenPhotos photos;
    private final Timings timings;
    private volatile CurrentIndex index;
    private SearchEngine engine;
    private PhotoMetadata numbered;
    private RowNumbers rowNumbers;
    private CachedRows cachedRows;
    private volatile float stackThreshold = NO_STACKS;

    /** Rows, with the filter and photos that they were computed for. */
    private record CachedRows(
            PhotoIndex index, PhotoMetadata metadata, Filter filter, Folders chosen, PassingRows rows) {}

    /** Finds {@code count} photos among {@code rows}, or among all photos if null. */
    interface Query {
        SearchEngine.Found ask(PhotoIndex index, PassingRows rows, int count) throws IOException;
    }

    Finder(PhotoSearch.Setup setup, InstalledStudents installed, ChosenPhotos photos, Timings timings) {
        this.setup = setup;
        this.installed = installed;
        this.photos = photos;
        this.timings = timings;
        index = newIndex();
    }

    private CurrentIndex newIndex() {
        return new CurrentIndex(() -> installed.searched().openIndex());
    }

    /** A new commit is available; may be called from any thread. */
    void committed() {
        index.committed();
    }

    /** Run with the searched student; if the previous student turns out broken, switch to this app's and run again. */
    <T> T withFallback(IoSupplier<T> work) throws IOException {
        try {
            return work.get();
        } catch (McadException error) {
            if (installed.previous() == null || !BROKEN.contains(error.kind)) {
                throw error;
            }
            switchStudent();
            return work.get();
        }
    }

    /** Search with this app's student from now on. */
    void switchStudent() throws IOException {
        if (installed.searched() != installed.own()) {
            close();
            index = newIndex();
            installed.switchStudent();
        }
    }

    /** See {@link PhotoSearch#stackDuplicates}; from any thread. */
    void stackDuplicates(float cosine) {
        stackThreshold = cosine;
    }

    PhotoIndex index() throws IOException {
        return index.get();
    }

    /** The engine, with its text tower loaded, which another replaces when the phone's language changes. */
    SearchEngine engine() throws IOException {
        if (engine != null && engine.bundle != installed.bundle()) {
            closeEngine();
        }
        if (engine == null) {
            SearchEngine opened = installed.newEngine(installed.searched(), 1, false);
            try {
                opened.warmUp();
            } catch (IOException error) {
                opened.close();
                throw McadException.of(McadException.Kind.TOWER, error);
            }
            engine = opened;
        }
        return engine;
    }

    /** Embed any photo, then free the image tower. */
    float[] embed(PhotoDecoder.Source photo) throws IOException {
        SearchEngine own = engine();
        try {
            return own.embedPhoto(setup.decoder(), photo);
        } finally {
            own.closeImageTower();
        }
    }

    /** Widen the query until {@code k} results are visible or there are no more. McadException without access. */
    SearchEngine.Found find(Query query, int k, Filter filter) throws IOException {
        PhotoIndex open = index.get(); // all attempts search one commit
        PassingRows rows = rows(open, filter);
        SearchEngine.Found first = null;
        for (int count = k;; count = (int) Math.min((long) count * WIDER, Integer.MAX_VALUE / 2)) {
            SearchEngine.Found found = query.ask(open, rows, count);
            first = first == null ? found : first;
            List<SearchEngine.Result> visible = visible(open, found.results(), k);
            if (visible.isEmpty() && !found.results().isEmpty()) {
                setup.library().checkAccess(); // without it, no wider query helps
            }
            boolean most = !visible.isEmpty() && stackThreshold <= 1 && count >= MOST_STACKED;
            if (visible.size() == k || found.results().size() < count || most) {
                timings.addAll(first.ms());
                return first.with(visible);
            }
        }
    }

    /** The first {@code k} results that the app may see, or stacks of them. */
    private List<SearchEngine.Result> visible(PhotoIndex open, List<SearchEngine.Result> results, int k)
            throws IOException {
        List<String> paths = new ArrayList<>();
        for (SearchEngine.Result result : results) {
            paths.add(result.path());
        }
        Set<String> visiblePaths = paths.isEmpty() ? Collections.emptySet() : setup.library().visible(paths);
        Stacks stacks = new Stacks(open, stackThreshold, k);
        for (SearchEngine.Result result : results) {
            if (visiblePaths.contains(result.path())) {
                stacks.add(result);
            }
        }
        return stacks.results();
    }

    /** The rows to search; null for all. Cached until the index, the phone's listing or the filter changes. */
    private PassingRows rows(PhotoIndex open, Filter filter) throws IOException {
        Folders chosen = photos.chosen();
        if (filter.isAll() && chosen.areAll()) {
            return null;
        }
        PhotoMetadata metadata = photos.metadata();
        if (cachedRows != null && cachedRows.index == open && cachedRows.metadata == metadata
                && cachedRows.filter.equals(filter) && cachedRows.chosen.equals(chosen)) {
            return cachedRows.rows;
        }
        if (metadata != numbered) {
            rowNumbers = new RowNumbers(metadata::number);
            numbered = metadata;
        }
        PassingRows rows = open.rows(rowNumbers, number -> metadata.passes(number, filter, chosen), filter.place());
        cachedRows = new CachedRows(open, metadata, filter, chosen, rows);
        return rows;
    }

    /** The next search loads the towers again. */
    void closeEngine() {
        if (engine != null) {
            engine.close();
            engine = null;
        }
    }

    @Override
    public void close() throws IOException {
        closeEngine();
        index.close();
    }
}
