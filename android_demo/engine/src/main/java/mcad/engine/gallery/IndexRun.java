package mcad.engine.gallery;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.zip.CRC32;
import mcad.engine.McadException;
import mcad.engine.PhotoDecoder;
import mcad.engine.SearchEngine;
import mcad.engine.index.IndexWriter;
import mcad.engine.index.PhotoIndex;

/**
 * Brings an index in step with a phone's photos: adds the new, embeds the changed again, drops the gone. Commits batch by
 * batch, so that a run that is stopped or killed loses one batch at most, and the next run goes on from there.
 */
public final class IndexRun {
    /** A few seconds of work. */
    public static final int BATCH = 64;

    /** Hears after each photo how many of how many are done, and after each commit how many can be searched. */
    public interface Progress {
        void done(int done, int total);

        void committed(int photos);
    }

    /**
     * What a run did. {@code finished} is false when it was stopped. {@code skipped}: photos that cannot be read or
     * decoded, and those over which the process died before.
     */
    public record Outcome(int added, int deleted, int skipped, int photos, boolean finished) {}

    private static final int CHUNK = 1 << 16;

    private final Path directory;
    private final SearchEngine engine;
    private final PhotoDecoder decoder;
    private final PhotoLibrary library;
    private final Numbers numbers;
    private Suspects suspects;
    private int added;
    private int skipped;

    public IndexRun(Path directory, SearchEngine engine, PhotoDecoder decoder, PhotoLibrary library, Numbers numbers) {
        this.directory = directory;
        this.engine = engine;
        this.decoder = decoder;
        this.library = library;
        this.numbers = numbers;
    }

    /**
     * Run until all is done or {@code stopped}. IOException, with what was committed before kept, when the photos
     * cannot be listed or may no longer be seen, the tower fails, or the index cannot be written.
     */
    public Outcome run(BooleanSupplier stopped, Progress progress) throws IOException {
        try (PhotoIndex index = open()) {
            return run(index, stopped, progress);
        }
    }

    private PhotoIndex open() throws McadException {
        try {
            return PhotoIndex.openOrCreate(
                directory, engine.bundle.dim, engine.bundle.studentName, engine.bundle.studentSha256);
        } catch (IOException error) {
            throw McadException.of(McadException.Kind.INDEX, error);
        }
    }

    private Outcome run(PhotoIndex index, BooleanSupplier stopped, Progress progress) throws IOException {
        List<PhotoLibrary.Item> items = library.list();
        suspects = Suspects.open(directory, items);
        Map<String, int[]> gone = index.stamps();
        Map<String, int[]> known = new HashMap<>();
        List<PhotoLibrary.Item> work = new ArrayList<>();
        for (PhotoLibrary.Item item : items) {
            int[] stamps = gone.get(item.path());
            boolean changed = stamps == null || stamps[0] != stamp(item);
            if (changed && suspects.isCondemned(item)) {
                skipped++; // and dropped, if it was ever indexed: what is stored is no longer this file
                continue;
            }
            gone.remove(item.path());
            if (changed) {
                work.add(item);
                known.put(item.path(), stamps);
            }
        }
        work.sort(Comparator.comparingInt(suspects::deaths));
        int deleted = gone.isEmpty() ? 0 : delete(index, gone.keySet());
        int done = items.size() - work.size();
        if (!work.isEmpty()) {
            engine.imageTower(); // or its loading would count as the first photo's time
        }
        progress.done(done, items.size());
        for (int start = 0; start < work.size() && !stopped.getAsBoolean(); start += BATCH) {
            try (IndexWriter writer = index.writer()) {
                for (PhotoLibrary.Item item : work.subList(start, Math.min(start + BATCH, work.size()))) {
                    if (stopped.getAsBoolean()) {
                        break;
                    }
                    add(writer, item, known.get(item.path()));
                    progress.done(++done, items.size());
                }
                writer.commit();
            }
            progress.committed(index.photos());
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

    /** A file that is broken must not stop the others: it is counted, and tried again by the next run. */
    private void add(IndexWriter writer, PhotoLibrary.Item item, int[] before) throws IOException {
        long started = System.nanoTime();
        PhotoDecoder.Source source = library.open(item.path());
        int content;
        try {
            content = contentStamp(source);
        } catch (IOException unreadable) {
            library.checkAccess();
            skipped++; // nothing is known of what it holds now: what is stored stays
            return;
        }
        if (before != null && before[1] != 0 && before[1] == content) {
            writer.restamp(item.path(), stamp(item), content);
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
        numbers.add("decode", (decoded - started) / 1e6);
        numbers.add("image", (System.nanoTime() - decoded) / 1e6);
        writer.add(item.path(), embedding, stamp(item), content);
        writer.filledBy(engine.imageTower().toString());
        added++;
    }

    /** The pixels of a photo, or null if it cannot be decoded; IOException if photos may no longer be seen. */
    private float[] decode(PhotoLibrary.Item item, PhotoDecoder.Source source) throws IOException {
        suspects.decoding(item);
        try {
            return engine.bundle.preprocess.pixels(decoder, source);
        } catch (IOException | RuntimeException | OutOfMemoryError broken) {
            library.checkAccess();
            return null;
        } finally {
            suspects.decoded();
        }
    }

    /** Says which state of a file was embedded: CRC-32 of its size and the time of its last change. */
    private static int stamp(PhotoLibrary.Item item) {
        ByteBuffer state = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
        state.putLong(item.bytes()).putLong(item.modifiedMs());
        CRC32 crc = new CRC32();
        crc.update(state.array(), 0, 16);
        return (int) crc.getValue();
    }

    private static int contentStamp(PhotoDecoder.Source source) throws IOException {
        CRC32 crc = new CRC32();
        byte[] chunk = new byte[CHUNK];
        try (InputStream in = source.open()) {
            for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
                crc.update(chunk, 0, count);
            }
        }
        return (int) crc.getValue();
    }
}
