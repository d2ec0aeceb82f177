package mcad.engine.gallery;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.BooleanSupplier;
import mcad.engine.PhotoDecoder;
import mcad.engine.SearchEngine;
import mcad.engine.index.IndexWriter;
import mcad.engine.index.PhotoIndex;

/**
 * Brings an index in step with a phone's photos: adds the new, drops the gone. Commits batch by batch, so that a run
 * that is stopped or killed loses one batch at most, and the next run goes on from there.
 */
public final class IndexRun {
    /** A few seconds of work. */
    public static final int BATCH = 64;

    /** Hears after each photo how many of how many are done, and after each commit how many can be searched. */
    public interface Progress {
        void done(int done, int total);

        void committed(int photos);
    }

    /** What a run did. {@code finished} is false when it was stopped. {@code skipped}: photos that do not decode. */
    public record Outcome(int added, int deleted, int skipped, int photos, boolean finished) {}

    private final Path directory;
    private final SearchEngine engine;
    private final PhotoDecoder decoder;
    private final PhotoLibrary library;
    private final Numbers numbers;

    public IndexRun(Path directory, SearchEngine engine, PhotoDecoder decoder, PhotoLibrary library, Numbers numbers) {
        this.directory = directory;
        this.engine = engine;
        this.decoder = decoder;
        this.library = library;
        this.numbers = numbers;
    }

    /**
     * Run until all is done or {@code stopped}. IOException, with what was committed before kept, when the photos
     * cannot be listed or the index cannot be written.
     */
    public Outcome run(BooleanSupplier stopped, Progress progress) throws IOException {
        PhotoIndex index = PhotoIndex.openOrCreate(
            directory, engine.bundle.dim, engine.bundle.studentName, engine.bundle.studentSha256);
        List<PhotoLibrary.Item> items = library.list();
        Set<String> known = new HashSet<>(index.paths());
        List<PhotoLibrary.Item> fresh = new ArrayList<>();
        for (PhotoLibrary.Item item : items) {
            if (!known.remove(item.path())) {
                fresh.add(item);
            }
        }
        int deleted = known.isEmpty() ? 0 : delete(index, known);
        int done = items.size() - fresh.size();
        int added = 0;
        int skipped = 0;
        progress.done(done, items.size());
        for (int start = 0; start < fresh.size() && !stopped.getAsBoolean(); start += BATCH) {
            List<PhotoLibrary.Item> batch = fresh.subList(start, Math.min(start + BATCH, fresh.size()));
            int embedded = 0;
            int failed = 0;
            try (IndexWriter writer = index.writer()) {
                for (PhotoLibrary.Item item : batch) {
                    if (stopped.getAsBoolean()) {
                        break;
                    }
                    float[] embedding = embed(item);
                    if (embedding == null) {
                        failed++;
                    } else {
                        writer.add(item.path(), embedding);
                        embedded++;
                    }
                    progress.done(++done, items.size());
                }
                writer.commit();
            }
            progress.committed(index.photos());
            added += embedded;
            skipped += failed;
        }
        return new Outcome(added, deleted, skipped, index.photos(), done == items.size());
    }

    private static int delete(PhotoIndex index, Set<String> gone) throws IOException {
        int deleted = 0;
        try (IndexWriter writer = index.writer()) {
            for (String path : gone) {
                deleted += writer.delete(path) ? 1 : 0;
            }
            writer.commit();
        }
        return deleted;
    }

    /** Null for a photo that cannot be decoded: one broken file must not stop the others. */
    private float[] embed(PhotoLibrary.Item item) throws IOException {
        engine.imageTower();
        try {
            long started = System.nanoTime();
            float[] pixels = engine.bundle.preprocess.pixels(decoder, library.open(item.path()));
            long decoded = System.nanoTime();
            float[] embedding = engine.embedPixels(pixels);
            numbers.add("decode", (decoded - started) / 1e6);
            numbers.add("image", (System.nanoTime() - decoded) / 1e6);
            return embedding;
        } catch (IOException | RuntimeException broken) {
            return null;
        }
    }
}
