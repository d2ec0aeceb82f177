package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.NativeLibrary;
import java.io.Closeable;
import java.io.IOException;
import java.lang.ref.PhantomReference;
import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * An open commit: a manifest, and the index of its segments in C. Calls from several threads wait for each other; after
 * {@link #close}, they throw McadException.
 */
final class Commit implements Closeable {
    final Path directory;
    final Manifest manifest;
    final IndexErrors errors;
    /** Live photos, the bytes of all parts, and 1 if there are words. */
    final long[] size;
    /** The filter that all live photos pass. */
    final PassingRows all;
    /** Open filters, which are closed when nothing refers to their rows, or with the commit. */
    private final Map<Reference<PassingRows>, Long> filters = new HashMap<>();
    private final ReferenceQueue<PassingRows> unused = new ReferenceQueue<>();
    private long index;

    /** A function of {@link IndexCore}. */
    interface Call<T> {
        T of(long index, long[] error) throws IOException;
    }

    /** Open the last commit; try again if another one replaces it meanwhile. */
    static Commit open(Path directory) throws IOException {
        NativeLibrary.load();
        Manifest manifest = Manifest.read(directory);
        while (true) {
            try {
                return new Commit(directory, manifest);
            } catch (NoSuchFileException gone) {
                Manifest newer = Manifest.read(directory);
                if (newer.generation() == manifest.generation()) {
                    throw IndexErrors.damaged(gone.getFile(), "the manifest names it, and it is gone", gone);
                }
                manifest = newer;
            }
        }
    }

    private Commit(Path directory, Manifest manifest) throws IOException {
        this.directory = directory;
        this.manifest = manifest;
        errors = new IndexErrors(directory, manifest);
        List<Manifest.Entry> entries = manifest.segments();
        byte[][] files = new byte[2 * entries.size()][];
        for (int i = 0; i < files.length; i += 2) {
            String words = entries.get(i / 2).words();
            files[i] = bytes(entries.get(i / 2).file());
            files[i + 1] = words == null ? null : bytes(words);
        }
        long[] numbers = entries.stream().flatMapToLong(entry -> Arrays.stream(entry.numbers())).toArray();
        double[] counts = entries.stream().flatMapToDouble(entry -> Arrays.stream(entry.counts())).toArray();
        int[][] deleted = entries.stream().map(Manifest.Entry::deleted).toArray(int[][]::new);
        index = errors.checked(
            IndexCore.openIndex(files, numbers, deleted, counts, manifest.dim(), errors.values));
        try {
            size = IndexCore.size(index);
            all = rows(null, new byte[0][]);
        } catch (IOException | RuntimeException | Error error) {
            close();
            throw error;
        }
    }

    /** The path of a file of the index, for C. */
    byte[] bytes(String name) {
        return directory.resolve(name).toString().getBytes(StandardCharsets.UTF_8);
    }

    /** Call a function. */
    synchronized <T> T call(Call<T> function) throws IOException {
        return errors.checked(function.of(errors.open(index), errors.values));
    }

    /** The row of a live photo, or {@link IndexCore#NONE}. */
    long find(String path) throws IOException {
        byte[][] paths = {PathBytes.of(path)};
        return call((handle, error) -> IndexCore.find(handle, paths, error))[0];
    }

    /**
     * The live photos that pass.
     *
     * @param bits of each segment, one per row; null if all pass
     * @param place folded terms that the photo's place has
     */
    synchronized PassingRows rows(long[] @Nullable [] bits, byte[][] place) throws IOException {
        for (Reference<?> gone = unused.poll(); gone != null; gone = unused.poll()) {
            IndexCore.closeFilter(filters.remove(gone));
        }
        long[] count = new long[1];
        long filter = call((handle, error) -> IndexCore.openFilter(handle, bits, place, count, error));
        PassingRows rows = new PassingRows(this, filter, (int) count[0]);
        filters.put(new PhantomReference<>(rows, unused), filter);
        return rows;
    }

    /** {@code rows}, or all if these are null. McadException if they are of another commit. */
    PassingRows own(@Nullable PassingRows rows) throws McadException {
        if (rows != null && rows.commit != this) {
            throw new McadException("The rows are of another commit of the index.", "Ask the index for them again.");
        }
        return rows == null ? all : rows;
    }

    @Override
    public synchronized void close() {
        filters.values().forEach(IndexCore::closeFilter);
        filters.clear();
        IndexCore.closeIndex(index);
        index = 0;
    }
}
