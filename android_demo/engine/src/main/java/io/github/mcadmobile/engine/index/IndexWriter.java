package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.Fsync;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.Closeable;
import java.io.IOException;
import java.io.InterruptedIOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * Gathers changes to an index and writes them in one atomic {@link #commit}; without it, nothing changes. New
 * embeddings wait in a file, because their coding axis is known only after the last is added.
 */
public final class IndexWriter implements Closeable {
    /** The time of a photo whose time is unknown. */
    private static final int NO_TIME = Integer.MIN_VALUE;
    private static final String SPOOL = "spool.tmp";

    private final PhotoIndex index;
    private final WriterLock lock;
    private final Set<String> filledBy = new TreeSet<>();
    private Commit before;
    private IndexErrors errors;
    private long writer;
    private boolean changed;
    private boolean committed;

    IndexWriter(PhotoIndex index) throws IOException {
        this.index = index;
        lock = new WriterLock(index.directory);
        try {
            // A crashed writer may have renamed without flushing: make its commit durable before deleting files that
            // only the previous commit names.
            Fsync.directory(index.directory);
            before = Commit.open(index.directory);
            before.manifest.removeStrays(index.directory);
            byte[] spool = before.bytes(SPOOL);
            writer = before.call((handle, error) ->
                IndexCore.openWriter(handle, spool, index.cellsFrom, index.cellsGain, error));
            errors = before.errors;
            filledBy.addAll(before.manifest.filledBy());
        } catch (IOException error) {
            throw notWritten(error);
        } finally {
            if (writer == 0) {
                close();
            }
        }
    }

    /** Record the rung that embedded the added photos; the commit stores it. */
    public void recordFiller(String rung) {
        filledBy.add(rung);
    }

    /** Add a photo whose time is unknown. */
    public void add(String path, float[] embedding, int stamp, int contentStamp) throws IOException {
        add(path, embedding, stamp, contentStamp, NO_TIME);
    }

    /**
     * Add a photo with an embedding of unit length, replacing one at the same path. {@code time} is in minutes since
     * 1970; for the stamps see docs/index-format.md.
     */
    public synchronized void add(String path, float[] embedding, int stamp, int contentStamp, int time)
            throws IOException {
        byte[][] paths = paths(path);
        index.checkVector(embedding, "The embedding of " + path);
        int[] stamps = {stamp, contentStamp};
        int[] times = {time};
        errors.checked(IndexCore.add(errors.open(writer), paths, embedding, stamps, times, errors.values));
        changed = true;
    }

    private static byte[][] paths(String path) throws McadException {
        return new byte[][] {PathBytes.of(path)};
    }

    /**
     * Keep the embeddings of a committed photo or video whose file was touched or moved, replacing any photo at {@code
     * to}. False if there is no such file.
     */
    public synchronized boolean move(String from, String to, int stamp, int contentStamp) throws IOException {
        int[] stamps = {stamp, contentStamp};
        return change(IndexCore.move(errors.open(writer), paths(from), paths(to), stamps, errors.values));
    }

    /** Delete a photo, or a video with all its moments; false if there is none. */
    public synchronized boolean delete(String path) throws IOException {
        return change(IndexCore.delete(errors.open(writer), paths(path), errors.values));
    }

    /**
     * Set the words of a photo, in place of those that it had; false if there is no such photo. The words of its name
     * come from its path.
     */
    public synchronized boolean setWords(String path, PhotoWords words) throws IOException {
        byte[][] records = {WordRecords.of(words)};
        return change(IndexCore.setWords(errors.open(writer), paths(path), records, errors.values));
    }

    private boolean change(long found) throws IOException {
        changed |= errors.checked(found) > 0;
        return found > 0;
    }

    /**
     * Write one segment and the manifest that names it; without changes, do nothing. IllegalStateException if this
     * writer has tried to commit before: open another.
     */
    public void commit() throws IOException {
        commit(null);
    }

    /** As above; InterruptedIOException soon after another thread sets {@code stop}, a direct buffer of an int. */
    public synchronized void commit(@Nullable ByteBuffer stop) throws IOException {
        if (committed) {
            throw new IllegalStateException("A writer commits once.");
        }
        if (!changed) {
            return;
        }
        committed = true;
        try {
            write(stop);
        } catch (IOException error) {
            throw notWritten(error);
        }
        index.reload();
        Manifest.read(index.directory).removeStrays(index.directory);
    }

    private IOException notWritten(IOException error) {
        return error instanceof McadException || error instanceof InterruptedIOException ? error
            : IndexErrors.notWritten(index.directory, error.toString(), error);
    }

    private void write(@Nullable ByteBuffer stop) throws IOException {
        Manifest manifest = before.manifest;
        int count = manifest.segments().size();
        byte[] fates = new byte[count];
        int[][] deleted = new int[count][];
        long[] plan = errors.checked(IndexCore.plan(errors.open(writer), fates, deleted, errors.values));
        if (plan[0] == 0) {
            return; // what changed was changed back
        }
        boolean hasWords = plan[1] != 0;
        boolean hasNew = plan[2] > 0;
        long generation = manifest.generation() + 1;
        String name = Manifest.segmentName(generation);
        long[] numbers = new long[IndexCore.NUMBERS];
        double[] counts = new double[IndexCore.COUNTS];
        if (hasNew) {
            errors.checked(IndexCore.writeSegment(writer, before.bytes(name), stop, numbers, counts, errors.values));
        }
        List<Manifest.Entry> entries = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            Manifest.Entry old = manifest.segments().get(i);
            if (fates[i] != IndexCore.MERGED) {
                String words = fates[i] == IndexCore.NEW_WORDS ? writeWords(old.file(), i, generation)
                    : old.words();
                entries.add(new Manifest.Entry(old.file(), old.numbers(), deleted[i], old.counts(), words));
            }
        }
        if (hasNew) {
            String words = hasWords ? writeWords(name, count, generation) : null;
            entries.add(new Manifest.Entry(name, numbers, new int[0], counts, words));
        }
        new Manifest(generation, manifest.dim(), manifest.student(), manifest.studentSha256(), entries,
            new ArrayList<>(filledBy)).write(index.directory);
    }

    /** Write the words of a segment, which is {@code number} in C; the name of their file. */
    private String writeWords(String segment, int number, long generation) throws IOException {
        List<String> files = PathBytes.toStrings(errors.checked(IndexCore.names(writer, number, errors.values)));
        byte[][] names = index.names(files).stream().map(name -> WordRecords.terms(name)).toArray(byte[][]::new);
        String file = Manifest.wordsName(segment, generation);
        errors.checked(IndexCore.writeWords(writer, number, names, before.bytes(file), errors.values));
        return file;
    }

    /** Drops uncommitted changes. */
    @Override
    public synchronized void close() throws IOException {
        IndexCore.closeWriter(writer);
        writer = 0;
        try (lock; Commit opened = before) {
            // both are closed
        }
    }
}
