package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoBytes;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.photos.Resize;
import io.github.mcadmobile.engine.reading.Reader;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * Updates an index to match a phone's photos: adds new photos, embeds changed ones again, follows moved ones, drops
 * deleted ones; then reads the text in photos, if the bundle can. A photo that is not visible is not taken as deleted: an empty listing, an unmounted volume or access to
 * selected photos only drops nothing, and {@link LibraryState} confirms large losses. Commits batch by batch, so a run
 * that is stopped or killed loses at most one batch, and the next run continues from there.
 */
public final class IndexRun {
    /** Photos per commit: a few seconds of work. */
    public static final int BATCH = 64;

    private static final int SAMPLE = 6;
    /** Between commits of texts: the first, the second, all others. */
    private static final long[] COMMIT_NS = {2_000_000_000L, 5_000_000_000L, 20_000_000_000L};
    /** Times what the last commit took, as it writes a segment's words anew. */
    private static final int LEAST_WAIT = 10;
    private static final int MOST_MOMENTS = 32;
    private static final long BETWEEN_MS = 10_000;
    private static final long MOST_NS = 120_000_000_000L;
    /** The cosine of two frames that show nearly the same. */
    private static final float SAME = 0.95f;
    private static final double NS_PER_MS = 1e6;
    private static final double MINUTE_NS = 60e9;
    private static final int HOT = 3;
    private static final int COOL = 1;
    private static final long REST_MS = 5000;

    /** Receives the photos done after each photo, and the number of searchable photos after each commit. */
    public interface Progress {
        void done(int done, int total);

        void committed(int photos);

        /** Called with the listing before the first photo is processed. */
        default void listed(PhotoLibrary.Listing listing) throws IOException {}

        /** Receives, once all photos are embedded, how many were read, after each. */
        default void read(int done, int total) throws IOException {}

        /** Called before the first photo, if a new index has replaced a damaged one. */
        default void rebuilt() {}

        /** Called with true when the run waits for a hot phone to cool, with false when it goes on. */
        default void resting(boolean hot) {}
    }

    /**
     * The outcome of a run. {@code moved}: photos found under another path. {@code skipped}: photos that cannot be read
     * or decoded, that killed the process, or whose decoder hung. {@code left}: photos that a stopped run did not
     * reach; {@code unread}: those whose text it did not. {@code rebuilt}: the index was damaged, so all photos are indexed again.
     */
    public record Outcome(
            int added, int moved, int deleted, int skipped, int left, int unread, int photos, boolean rebuilt) {
        public boolean finished() {
            return left == 0 && unread == 0;
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
    private LibraryState libraryState;
    private int added;
    private int moved;
    private final List<PhotoLibrary.Item> skipped = new ArrayList<>();

    public IndexRun(Path directory, SearchEngine engine, PhotoDecoder decoder, PhotoLibrary library, Timings timings,
            Device device) {
        this.directory = directory;
        this.engine = engine;
        this.decoder = decoder;
        this.library = library;
        this.timings = timings;
        this.device = device;
        timed = new TimedDecoder(device);
    }

    /**
     * Run until all photos are done or {@code conditions} stop it. A damaged index is rebuilt. IOException if the
     * photos cannot be listed, access is revoked, the tower fails, or the index cannot be written; earlier commits are
     * kept.
     *
     * @param damaged whether a search found the index damaged; a run reads less of it and may not notice
     */
    public Outcome run(boolean damaged, Conditions conditions, Progress progress) throws IOException {
        try (timed) {
            return damaged ? rebuild(conditions, progress) : run(conditions, progress);
        }
    }

    /** Photos per minute, measured on the first few without storing them; 0 if fewer than two can be decoded. */
    double pace() throws IOException {
        PhotoLibrary.Listing listing = library.list();
        Files.createDirectories(directory); // for the record of crashes: there may be no index yet
        crashes = CrashRecord.open(directory, listing.items(), device);
        engine.imageTower();
        long startedNs = 0;
        int embedded = 0;
        try (timed) {
            for (PhotoLibrary.Item item : listing.items().subList(0, Math.min(SAMPLE, listing.items().size()))) {
                float[] pixels = item.isVideo() || crashes.isExcluded(item) ? null
                    : pixels(item, PhotoBytes.of(library.open(item.path()), item.bytes()));
                if (pixels != null) {
                    engine.embedPixels(pixels);
                    startedNs = embedded++ == 0 ? System.nanoTime() : startedNs; // the first is slower
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
        index.nameBy(library::names);
        added = 0;
        moved = 0;
        skipped.clear();
        PhotoLibrary.Listing listing = library.list();
        progress.listed(listing);
        crashes = CrashRecord.open(directory, listing.items(), device);
        libraryState = LibraryState.open(directory);
        ChangedPhotos changes = ChangedPhotos.of(library, listing, index.membership(), this::stamp);
        setStaleAside(index, changes, libraryState.renumbered(listing.volumes()));
        libraryState.seen(listing.volumes());
        List<PhotoLibrary.Item> work = withoutExcluded(changes);
        MovedPhotos movedPhotos = new MovedPhotos(changes.unlisted, work, this::stamp);
        // Photos that may have moved are dropped only after all listed photos were read.
        boolean dropsLast = movedPhotos.anyMayBeFound();
        int deleted = dropsLast ? 0 : drop(index, listing, changes, movedPhotos);
        int total = listing.items().size();
        int done = total - work.size();
        if (!work.isEmpty() && !conditions.isStopped()) {
            engine.imageTower(); // keeps loading out of the first photo's time
        }
        if (rebuilt) {
            progress.rebuilt();
        }
        progress.done(done, total);
        for (int start = 0; start < work.size(); start += BATCH) {
            restIfHot(conditions, progress);
            if (conditions.isStopped()) {
                break;
            }
            try (IndexWriter writer = index.writer()) {
                for (PhotoLibrary.Item item : work.subList(start, Math.min(start + BATCH, work.size()))) {
                    restIfHot(conditions, progress);
                    if (conditions.isStopped()) {
                        break;
                    }
                    add(writer, item, changes.changed.get(item.path()), movedPhotos);
                    progress.done(++done, total);
                }
                writer.commit();
            }
            progress.committed(index.photos());
        }
        if (dropsLast && done == total) {
            deleted = drop(index, listing, changes, movedPhotos);
        }
        libraryState.skipped(skipped, this::stamp, device.environment(), done < total);
        if (engine.bundle.reader != null && done == total) {
            boolean known = libraryState.hasPlaces() || added == total || !library.hasPlaces();
            libraryState.places(library.hasPlaces()
                && (known || new NewPlaces(index, engine, library).add(listing.items(), conditions)));
        }
        int unread = engine.bundle.reader == null ? 0 : readTexts(index, listing.items(), conditions, progress);
        return new Outcome(added, moved, deleted, skipped.size(), total - done, unread, index.photos(), rebuilt);
    }

    /** Read the text in photos where that was not done, and commit by time; how many are left. */
    private int readTexts(PhotoIndex index, List<PhotoLibrary.Item> listed, Conditions conditions, Progress progress)
            throws IOException {
        List<PhotoLibrary.Item> unread = new ArrayList<>();
        for (PhotoLibrary.Item item : listed) {
            if (!item.isVideo() && !crashes.isExcluded(item) && index.isUnread(item.path(), stamp(item))) {
                unread.add(item);
            }
        }
        if (unread.isEmpty() || conditions.isStopped()) {
            return unread.size();
        }
        engine.closeImageTower(); // memory for what reads
        int done = 0;
        Map<String, PhotoWords> pending = new HashMap<>();
        try {
            engine.reader();
            progress.read(0, unread.size());
            int commits = 0;
            long committedNs = System.nanoTime();
            long waitNs = COMMIT_NS[0];
            for (PhotoLibrary.Item item : unread) {
                restIfHot(conditions, progress);
                if (conditions.isStopped()) {
                    break;
                }
                PhotoWords words = words(item);
                if (words != null) {
                    pending.put(item.path(), words);
                }
                progress.read(++done, unread.size());
                long nowNs = System.nanoTime();
                if (nowNs - committedNs >= waitNs) {
                    commit(index, pending);
                    committedNs = System.nanoTime();
                    commits = Math.min(commits + 1, COMMIT_NS.length - 1);
                    waitNs = Math.max(COMMIT_NS[commits], LEAST_WAIT * (committedNs - nowNs));
                    progress.committed(index.photos());
                }
            }
        } finally {
            engine.closeReader();
            commit(index, pending); // also after a failure: keep what was read
        }
        progress.committed(index.photos());
        return unread.size() - done;
    }

    private static void commit(PhotoIndex index, Map<String, PhotoWords> read) throws IOException {
        try (IndexWriter writer = index.writer()) {
            for (Map.Entry<String, PhotoWords> photo : read.entrySet()) {
                writer.setWords(photo.getKey(), photo.getValue());
            }
            writer.commit();
        }
        read.clear();
    }

    /** The words of a photo, without lines if it cannot be decoded; null if its file is out of reach. */
    private @Nullable PhotoWords words(PhotoLibrary.Item item) throws IOException {
        PhotoDecoder.Source source;
        try {
            source = PhotoBytes.of(library.open(item.path()), item.bytes());
        } catch (IOException unreadable) {
            library.checkAccess();
            return null;
        }
        Resize.Rgb photo = decode(item, () -> {
            try (Photo decoded = decoder.decode(source, Reader.AT_LEAST)) {
                return Reader.upright(decoded);
            }
        });
        List<PhotoWords.Line> lines = List.of();
        try {
            lines = photo == null ? lines : engine.readText(photo);
        } catch (OutOfMemoryError tooMuch) {
            // As a photo that does not decode: it is tried again when its file changes.
        }
        return new PhotoWords(lines, engine.wordsOf(source).places(), true);
    }

    /** If the phone is hot, wait until it is cool or the run should stop. */
    private static void restIfHot(Conditions conditions, Progress progress) {
        if (!conditions.isStopped() && conditions.heat() >= HOT) {
            progress.resting(true);
            while (!conditions.isStopped() && conditions.heat() > COOL) {
                conditions.rest(REST_MS);
            }
            progress.resting(false);
        }
    }

    private int stamp(PhotoLibrary.Item item) {
        return Stamps.ofState(item, decoder.revision(item.kind()));
    }

    /** On renumbered volumes, a changed photo is most likely another photo: see {@link StalePaths}. */
    private void setStaleAside(PhotoIndex index, ChangedPhotos changes, Set<String> renumbered) throws IOException {
        if (renumbered.isEmpty()) {
            return;
        }
        List<ChangedPhotos.KnownPhoto> stale = new ArrayList<>();
        try (IndexWriter writer = index.writer()) {
            for (ChangedPhotos.KnownPhoto known : new ArrayList<>(changes.changed.values())) {
                if (renumbered.contains(library.volume(known.path()))) {
                    String stalePath = StalePaths.path(known.path());
                    writer.move(known.path(), stalePath, known.stamp(), known.contentStamp());
                    stale.add(new ChangedPhotos.KnownPhoto(stalePath, known.stamp(), known.contentStamp()));
                    changes.changed.remove(known.path());
                }
            }
            writer.commit();
        }
        // A photo that was set aside under the same path in an earlier run was replaced.
        Set<String> replaced = stale.stream().map(ChangedPhotos.KnownPhoto::path).collect(Collectors.toSet());
        changes.unlisted.removeIf(known -> replaced.contains(known.path()));
        changes.unlisted.addAll(stale);
    }

    private List<PhotoLibrary.Item> withoutExcluded(ChangedPhotos changes) throws IOException {
        List<PhotoLibrary.Item> work = new ArrayList<>();
        for (PhotoLibrary.Item item : changes.work) {
            if (!crashes.isExcluded(item) && !libraryState.isUndecodable(item, stamp(item), device.environment())) {
                work.add(item);
                continue;
            }
            skipped.add(item);
            ChangedPhotos.KnownPhoto known = changes.changed.remove(item.path());
            if (known != null) {
                changes.replaced.add(known); // what is stored is no longer this file
            }
        }
        work.sort(Comparator.comparingInt(crashes::deaths));
        return work;
    }

    /** Delete the photos that are gone; return their number. */
    private int drop(PhotoIndex index, PhotoLibrary.Listing listing, ChangedPhotos changes, MovedPhotos movedPhotos)
            throws IOException {
        Map<String, List<String>> lost = new HashMap<>();
        if (listing.whole()) {
            for (List<PhotoLibrary.Item> items : List.of(listing.items(), listing.leftOut())) {
                for (PhotoLibrary.Item item : items) {
                    lost.computeIfAbsent(library.volume(item.path()), none -> new ArrayList<>()); // not of empty volumes
                }
            }
            for (ChangedPhotos.KnownPhoto known : movedPhotos.unmatched()) {
                List<String> ofVolume = lost.get(StalePaths.volume(library, known.path()));
                if (ofVolume != null) {
                    ofVolume.add(known.path());
                }
            }
        }
        List<String> gone = new ArrayList<>();
        for (Map.Entry<String, List<String>> volume : lost.entrySet()) {
            int indexed = changes.photosPerVolume.getOrDefault(volume.getKey(), 0);
            if (libraryState.isConfirmed(volume.getKey(), volume.getValue().size(), indexed, device.nowMs())) {
                gone.addAll(volume.getValue());
            }
        }
        for (ChangedPhotos.KnownPhoto known : changes.replaced) {
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

    /** A broken file must not stop the run: it counts as skipped. */
    private void add(IndexWriter writer, PhotoLibrary.Item item, ChangedPhotos.KnownPhoto before,
            MovedPhotos movedPhotos) throws IOException {
        PhotoDecoder.Source source = library.open(item.path());
        int content;
        try {
            source = item.isVideo() ? source : PhotoBytes.of(source, item.bytes());
            content = item.isVideo() ? Stamps.ofEnds(source, item.bytes())
                : Stamps.ofContent(source, decoder.revision(item.kind()));
        } catch (IOException unreadable) {
            library.checkAccess();
            skipped.add(item); // its content is unknown: the stored embedding stays
            return;
        }
        int stamp = stamp(item);
        if (before != null && before.contentStamp() != 0 && before.contentStamp() == content) {
            writer.move(item.path(), item.path(), stamp, content);
            return;
        }
        ChangedPhotos.KnownPhoto elsewhere = before == null ? movedPhotos.find(stamp, content) : null;
        if (elsewhere != null && writer.move(elsewhere.path(), item.path(), stamp, content)) {
            moved++;
            return;
        }
        Map<String, float[]> rows = item.isVideo() ? moments(item) : photo(item, source);
        if (before != null && (rows.isEmpty() || item.isVideo())) {
            writer.delete(item.path()); // what is stored is no longer this file
        }
        if (rows.isEmpty()) {
            skipped.add(item);
            return;
        }
        PhotoWords words = item.isVideo() ? null : engine.wordsOf(source);
        for (Map.Entry<String, float[]> row : rows.entrySet()) {
            writer.add(row.getKey(), row.getValue(), stamp, content);
            if (words != null) {
                writer.setWords(row.getKey(), words);
            }
        }
        writer.recordFiller(engine.imageTower().toString());
        added++;
    }

    /** The row of a photo; none if it cannot be decoded. */
    private Map<String, float[]> photo(PhotoLibrary.Item item, PhotoDecoder.Source source) throws IOException {
        long started = System.nanoTime();
        float[] pixels = pixels(item, source);
        if (pixels == null) {
            return Map.of();
        }
        long decoded = System.nanoTime();
        float[] embedding = engine.embedPixels(pixels);
        timings.add("decode", (decoded - started) / NS_PER_MS);
        timings.add("image", (System.nanoTime() - decoded) / NS_PER_MS);
        return Map.of(item.path(), embedding);
    }

    /**
     * The rows of a video: one frame in ten seconds, at most 32, without those that are nearly the one before, as in
     * mcad_mobile/engine/photos/video.py. None if it cannot be decoded, also where that takes too long.
     */
    private Map<String, float[]> moments(PhotoLibrary.Item item) throws IOException {
        Map<String, float[]> rows = new HashMap<>();
        long startedNs = System.nanoTime();
        PhotoLibrary.Frames frames = decode(item, () -> library.frames(item.path()));
        if (frames == null) {
            return rows;
        }
        try {
            int count = (int) Math.min(MOST_MOMENTS, frames.durationMs() / BETWEEN_MS + 1);
            float[] before = null;
            for (int i = 0; i < count; i++) {
                long ms = frames.durationMs() * i / count;
                PhotoDecoder frame = (any, atLeast) -> frames.near(ms, atLeast);
                float[] pixels = decode(item, () -> engine.bundle.preprocess.pixels(frame, null));
                boolean tooSlow = System.nanoTime() - startedNs > MOST_NS;
                if (tooSlow) {
                    crashes.hung(item);
                }
                if (tooSlow || pixels == null) {
                    return Map.of();
                }
                float[] embedding = engine.embedPixels(pixels);
                if (before == null || Vectors.cosine(before, embedding) < SAME) {
                    rows.put(Moments.path(item.path(), ms), embedding);
                    before = embedding;
                }
            }
        } finally {
            decode(item, () -> { // may hang, too
                frames.close();
                return frames;
            });
        }
        return rows;
    }

    private float[] pixels(PhotoLibrary.Item item, PhotoDecoder.Source source) throws IOException {
        return decode(item, () -> engine.bundle.preprocess.pixels(decoder, source));
    }

    /** What {@code work} decodes, or null if it fails or hangs; IOException if access was revoked. */
    private <T> T decode(PhotoLibrary.Item item, Callable<T> work) throws IOException {
        crashes.decoding(item);
        try {
            return timed.run(work);
        } catch (TimeoutException hangs) {
            crashes.hung(item);
            return null;
        } catch (IOException | RuntimeException | OutOfMemoryError broken) {
            library.checkAccess();
            // Memory may be free, and a video's file at hand, the next time.
            if (libraryState != null && !item.isVideo() && !(broken instanceof OutOfMemoryError)) {
                libraryState.undecodable(item, stamp(item), device.environment());
            }
            return null;
        } finally {
            crashes.decoded();
        }
    }
}
