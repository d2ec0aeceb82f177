package mcad.gallery;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeoutException;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.index.IndexWriter;
import mcad.engine.index.PhotoIndex;
import mcad.engine.photos.PhotoBytes;
import mcad.engine.photos.PhotoDecoder;

/**
 * Brings an index in step with a phone's photos: adds the new, embeds the changed again, follows those that have
 * another path by now, drops the gone. Photos that are not visible are not gone: an empty list, a volume that is not
 * mounted, and access to chosen photos alone drop nothing, and {@link LibraryState} confirms large losses. Commits
 * batch by batch, so that a run that is stopped or killed loses one batch at most, and the next run goes on from there.
 */
public final class IndexRun {
    /** A few seconds of work. */
    public static final int BATCH = 64;

    private static final int SAMPLE = 6;
    private static final double MINUTE_NS = 60e9;
    private static final int HOT = 3;
    private static final int COOL = 1;
    private static final long REST_MS = 5000;

    /** Hears after each photo how many of how many are done, and after each commit how many can be searched. */
    public interface Progress {
        void done(int done, int total);

        void committed(int photos);

        /** The phone's list, before a photo is processed. */
        default void listed(PhotoLibrary.Listing listing) throws IOException {}

        /** The phone is too hot, and the run waits; or it goes on. */
        default void resting(boolean hot) {}
    }

    /**
     * The outcome of a run. {@code moved}: photos that were found under another path. {@code skipped}: those that
     * cannot be read or decoded, and those over which the process died, or a decoder hung. {@code left}: those that a run that was
     * stopped has not come to. {@code rebuilt}: the index was damaged, and all photos are indexed anew.
     */
    public record Outcome(
            int added, int moved, int deleted, int skipped, int left, int photos, boolean rebuilt) {
        public boolean finished() {
            return left == 0;
        }
    }

    private final Path directory;
    private final SearchEngine engine;
    private final PhotoDecoder decoder;
    private final PhotoLibrary library;
    private final Timings timings;
    private final Device device;
    private final TimedDecoder timed;
    private CrashRecord crashes;
    private int added;
    private int moved;
    private int skipped;

    public IndexRun(Path directory, SearchEngine engine, PhotoDecoder decoder, PhotoLibrary library, Timings timings,
            Device device) {
        this.directory = directory;
        this.engine = engine;
        this.decoder = decoder;
        this.library = library;
        this.timings = timings;
        this.device = device;
        timed = new TimedDecoder(engine.bundle.preprocess, decoder, device);
    }

    /**
     * Run until all is done or {@code conditions} stop it. A damaged index is built again. IOException, with what was
     * committed before kept, when the photos cannot be listed or may no longer be seen, the tower fails, or the index
     * cannot be written.
     *
     * @param damaged whether a search has found the index to be damaged, which a run reads less of
     */
    public Outcome run(boolean damaged, Conditions conditions, Progress progress) throws IOException {
        try (timed) {
            return damaged ? rebuild(conditions, progress) : run(conditions, progress);
        }
    }

    /** Photos a minute, measured on the first few, of which nothing is kept; 0 if none can be decoded. */
    double pace() throws IOException {
        PhotoLibrary.Listing listing = library.list();
        crashes = CrashRecord.open(directory, listing.items(), device);
        engine.imageTower();
        long startedNs = 0;
        int embedded = 0;
        try (timed) {
            for (PhotoLibrary.Item item : listing.items().subList(0, Math.min(SAMPLE, listing.items().size()))) {
                float[] pixels = crashes.isExcluded(item) ? null
                    : decode(item, PhotoBytes.of(library.open(item.path()), item.bytes()));
                if (pixels != null) {
                    engine.embedPixels(pixels);
                    startedNs = embedded++ == 0 ? System.nanoTime() : startedNs; // the first takes longer than others
                }
            }
        }
        return embedded < 2 ? 0 : (embedded - 1) * MINUTE_NS / (System.nanoTime() - startedNs);
    }

    private Outcome run(Conditions conditions, Progress progress) throws IOException {
        try (PhotoIndex index = open()) {
            return run(index, conditions, progress, false);
        } catch (McadException error) {
            if (error.kind != McadException.Kind.DAMAGED) {
                throw error;
            }
        }
        return rebuild(conditions, progress);
    }

    private PhotoIndex open() throws McadException {
        try {
            return PhotoIndex.openOrCreate(
                directory, engine.bundle.dim, engine.bundle.studentName, engine.bundle.imageSha256);
        } catch (IOException error) {
            throw McadException.of(McadException.Kind.INDEX, error);
        }
    }

    private Outcome rebuild(Conditions conditions, Progress progress) throws IOException {
        try (PhotoIndex index = PhotoIndex.recreate(
                directory, engine.bundle.dim, engine.bundle.studentName, engine.bundle.imageSha256)) {
            progress.committed(0);
            return run(index, conditions, progress, true);
        }
    }

    private Outcome run(PhotoIndex index, Conditions conditions, Progress progress, boolean rebuilt)
            throws IOException {
        added = 0;
        moved = 0;
        skipped = 0;
        PhotoLibrary.Listing listing = library.list();
        progress.listed(listing);
        crashes = CrashRecord.open(directory, listing.items(), device);
        LibraryState libraryState = LibraryState.open(directory);
        Difference difference = Difference.of(library, listing, index.membership(), this::stamp);
        setStaleAside(index, difference, libraryState.renumbered(listing.volumes()));
        libraryState.seen(listing.volumes());
        List<PhotoLibrary.Item> work = withoutExcluded(difference);
        MovedPhotos movedPhotos = new MovedPhotos(difference.unlisted, work, this::stamp);
        // What may turn out to be moved is dropped when all is known.
        boolean later = movedPhotos.anyMayBeFound();
        int deleted = later ? 0 : drop(index, listing, difference, movedPhotos, libraryState);
        int total = listing.items().size();
        int done = total - work.size();
        if (!work.isEmpty() && !conditions.isStopped()) {
            engine.imageTower(); // or its loading would count as the first photo's time
        }
        progress.done(done, total);
        for (int start = 0; start < work.size() && !isStopped(conditions, progress); start += BATCH) {
            try (IndexWriter writer = index.writer()) {
                for (PhotoLibrary.Item item : work.subList(start, Math.min(start + BATCH, work.size()))) {
                    if (isStopped(conditions, progress)) {
                        break;
                    }
                    add(writer, item, difference.changed.get(item.path()), movedPhotos);
                    progress.done(++done, total);
                }
                writer.commit();
            }
            progress.committed(index.photos());
        }
        if (later && done == total) {
            deleted = drop(index, listing, difference, movedPhotos, libraryState);
        }
        return new Outcome(added, moved, deleted, skipped, total - done, index.photos(), rebuilt);
    }

    /** Whether to end; waits first while the phone is hot. */
    private static boolean isStopped(Conditions conditions, Progress progress) {
        if (!conditions.isStopped() && conditions.heat() >= HOT) {
            progress.resting(true);
            while (!conditions.isStopped() && conditions.heat() > COOL) {
                conditions.rest(REST_MS);
            }
            progress.resting(false);
        }
        return conditions.isStopped();
    }

    private int stamp(PhotoLibrary.Item item) {
        return Stamps.ofState(item, decoder.revision(item.kind()));
    }

    /** On volumes that were numbered anew, a changed photo is most likely another one: see {@link StalePaths}. */
    private void setStaleAside(PhotoIndex index, Difference difference, Set<String> renumbered) throws IOException {
        if (renumbered.isEmpty()) {
            return;
        }
        List<Difference.KnownPhoto> stale = new ArrayList<>();
        try (IndexWriter writer = index.writer()) {
            for (Difference.KnownPhoto known : new ArrayList<>(difference.changed.values())) {
                if (renumbered.contains(library.volume(known.path()))) {
                    String away = StalePaths.path(known.path());
                    writer.move(known.path(), away, known.stamp(), known.contentStamp());
                    stale.add(new Difference.KnownPhoto(away, known.stamp(), known.contentStamp()));
                    difference.changed.remove(known.path());
                }
            }
            writer.commit();
        }
        difference.unlisted.addAll(stale);
    }

    private List<PhotoLibrary.Item> withoutExcluded(Difference difference) {
        List<PhotoLibrary.Item> work = new ArrayList<>();
        for (PhotoLibrary.Item item : difference.work) {
            if (!crashes.isExcluded(item)) {
                work.add(item);
                continue;
            }
            skipped++;
            Difference.KnownPhoto known = difference.changed.remove(item.path());
            if (known != null) {
                difference.replaced.add(known); // what is stored is no longer this file
            }
        }
        work.sort(Comparator.comparingInt(crashes::deaths));
        return work;
    }

    /** Drop what is gone; return how many. */
    private int drop(PhotoIndex index, PhotoLibrary.Listing listing, Difference difference, MovedPhotos movedPhotos,
            LibraryState libraryState) throws IOException {
        Map<String, List<String>> lost = new HashMap<>();
        if (listing.whole()) {
            for (PhotoLibrary.Item item : listing.items()) {
                lost.computeIfAbsent(library.volume(item.path()), none -> new ArrayList<>()); // not an empty one
            }
            for (Difference.KnownPhoto known : movedPhotos.left()) {
                List<String> ofVolume = lost.get(StalePaths.volume(library, known.path()));
                if (ofVolume != null) {
                    ofVolume.add(known.path());
                }
            }
        }
        List<String> gone = new ArrayList<>();
        for (Map.Entry<String, List<String>> volume : lost.entrySet()) {
            int held = difference.held.getOrDefault(volume.getKey(), 0);
            if (libraryState.isConfirmed(volume.getKey(), volume.getValue().size(), held, device.nowMs())) {
                gone.addAll(volume.getValue());
            }
        }
        for (Difference.KnownPhoto known : difference.replaced) {
            gone.add(known.path());
        }
        int deleted = 0;
        if (!gone.isEmpty()) {
            try (IndexWriter writer = index.writer()) {
                for (String path : gone) {
                    deleted += writer.delete(path) ? 1 : 0;
                }
                writer.commit();
            }
        }
        return deleted;
    }

    /** A file that is broken must not stop the others: it is counted, and tried again by the next run. */
    private void add(IndexWriter writer, PhotoLibrary.Item item, Difference.KnownPhoto before, MovedPhotos movedPhotos)
            throws IOException {
        long started = System.nanoTime();
        PhotoDecoder.Source source;
        int content;
        try {
            source = PhotoBytes.of(library.open(item.path()), item.bytes());
            content = Stamps.ofContent(source, decoder.revision(item.kind()));
        } catch (IOException unreadable) {
            library.checkAccess();
            skipped++; // its content is unknown: the stored embedding stays
            return;
        }
        int stamp = stamp(item);
        if (before != null && before.contentStamp() != 0 && before.contentStamp() == content) {
            writer.move(item.path(), item.path(), stamp, content);
            return;
        }
        Difference.KnownPhoto elsewhere = before == null ? movedPhotos.find(stamp, content) : null;
        if (elsewhere != null && writer.move(elsewhere.path(), item.path(), stamp, content)) {
            moved++;
            return;
        }
        float[] pixels = decode(item, source);
        if (pixels == null) {
            skipped++;
            if (before != null) {
                writer.delete(item.path()); // what is stored is no longer this file
            }
            return;
        }
        long decoded = System.nanoTime();
        float[] embedding = engine.embedPixels(pixels);
        timings.add("decode", (decoded - started) / 1e6);
        timings.add("image", (System.nanoTime() - decoded) / 1e6);
        writer.add(item.path(), embedding, stamp, content);
        writer.filledBy(engine.imageTower().toString());
        added++;
    }

    /** The pixels of a photo, or null if it cannot be decoded; IOException if photos may no longer be seen. */
    private float[] decode(PhotoLibrary.Item item, PhotoDecoder.Source source) throws IOException {
        crashes.decoding(item);
        try {
            return timed.pixels(source);
        } catch (TimeoutException hangs) {
            crashes.hung(item);
            return null;
        } catch (IOException | RuntimeException | OutOfMemoryError broken) {
            library.checkAccess();
            return null;
        } finally {
            crashes.decoded();
        }
    }
}
