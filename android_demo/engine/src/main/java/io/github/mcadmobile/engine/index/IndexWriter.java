package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.Fsync;
import io.github.mcadmobile.engine.index.CommitSource.Pending;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;

/**
 * Gathers changes to an index and writes them in one atomic {@link #commit}; without it, nothing changes. New
 * embeddings wait in a file, because their coding axis is known only after the last is added.
 */
public final class IndexWriter implements Closeable {
    private final PhotoIndex index;
    private final WriterLock lock;
    private final Manifest manifest;
    private final List<LiveSegment> segments;
    private final List<BitSet> deleted = new ArrayList<>();
    private final TreeMap<byte[], Pending> pending = new TreeMap<>(PathBytes::compare);
    private final TreeMap<byte[], PhotoWords> newWords = new TreeMap<>(PathBytes::compare);
    private final Spool spool;
    private final Set<String> filledBy;
    private boolean changed;
    private boolean committed;

    IndexWriter(PhotoIndex index) throws IOException {
        this.index = index;
        lock = new WriterLock(index.directory);
        List<LiveSegment> opened = List.of();
        boolean begun = false;
        try {
            // A crashed writer may have renamed without flushing: make its commit durable before deleting files that
            // only the previous commit names.
            Fsync.directory(index.directory);
            PhotoIndex.Commit commit = PhotoIndex.load(index.directory);
            opened = commit.segments();
            manifest = commit.manifest();
            filledBy = new TreeSet<>(manifest.filledBy());
            manifest.removeStrays(index.directory);
            spool = new Spool(index.directory, manifest.dim());
            begun = true;
        } catch (IOException error) {
            throw notWritten(error);
        } finally {
            if (!begun) {
                try (lock) {
                    PhotoIndex.closeAll(opened);
                }
            }
        }
        segments = opened;
        for (LiveSegment live : segments) {
            BitSet rows = new BitSet();
            for (int row : live.deleted()) {
                rows.set(row);
            }
            deleted.add(rows);
        }
    }

    /** Record the rung that embedded the added photos; the commit stores it. */
    public void recordFiller(String rung) {
        filledBy.add(rung);
    }

    /** Add a photo whose time is unknown. */
    public void add(String path, float[] embedding, int stamp, int contentStamp) throws IOException {
        add(path, embedding, stamp, contentStamp, Segment.NO_TIME);
    }

    /**
     * Add a photo with an embedding of unit length, replacing one at the same path. {@code time} is in minutes since
     * 1970; for the stamps see docs/index-format.md.
     */
    public void add(String path, float[] embedding, int stamp, int contentStamp, int time) throws IOException {
        byte[] raw = PathBytes.of(path);
        float[] rotated = index.prepared(embedding, "The embedding of " + path);
        int row;
        try {
            row = spool.append(rotated);
        } catch (IOException error) {
            throw notWritten(error);
        }
        markDeleted(raw);
        pending.put(raw, new Pending(segments.size(), row, stamp, contentStamp, time));
        changed = true;
    }

    /**
     * Keep the embeddings of a committed photo or video whose file was touched or moved, replacing any photo at {@code
     * to}. False if there is no such file.
     */
    public boolean move(String from, String to, int stamp, int contentStamp) throws IOException {
        boolean found = false;
        for (String row : rows(from)) {
            found |= moveRow(row, to + row.substring(from.length()), stamp, contentStamp);
        }
        return found;
    }

    private boolean moveRow(String from, String to, int stamp, int contentStamp) throws IOException {
        byte[] old = PathBytes.of(from);
        byte[] raw = PathBytes.of(to);
        for (int s = 0; s < segments.size(); s++) {
            int row = segments.get(s).segment().paths.find(old);
            if (row >= 0 && !deleted.get(s).get(row)) {
                deleted.get(s).set(row);
                PhotoWords words = newWords.remove(old);
                markDeleted(raw);
                if (words != null) {
                    newWords.put(raw, words);
                }
                int time = segments.get(s).segment().times.get(row);
                pending.put(raw, new Pending(s, row, stamp, contentStamp, time));
                changed = true;
                return true;
            }
        }
        return false;
    }

    /** Delete a photo, or a video with all its moments; false if there is none. */
    public boolean delete(String path) throws IOException {
        boolean existed = false;
        for (String row : rows(path)) {
            byte[] raw = PathBytes.of(row);
            existed |= markDeleted(raw) | pending.remove(raw) != null;
        }
        changed |= existed;
        return existed;
    }

    /**
     * Set the words of a photo, in place of those that it had; false if there is no such photo. The words of its name
     * come from its path.
     */
    public boolean setWords(String path, PhotoWords words) throws IOException {
        byte[] raw = PathBytes.of(path);
        boolean known = pending.containsKey(raw);
        for (int s = 0; s < segments.size() && !known; s++) {
            int row = segments.get(s).segment().paths.find(raw);
            known = row >= 0 && !deleted.get(s).get(row);
        }
        if (known) {
            newWords.put(raw, words);
            changed = true;
        }
        return known;
    }

    /** The paths of a file's rows: of a video, one for each moment. */
    private Set<String> rows(String file) throws IOException {
        if (!Moments.isVideo(file)) {
            return Set.of(file);
        }
        byte[] first = PathBytes.of(file + Moments.MARK);
        byte[] end = PathBytes.of(file + "#t>"); // sorts after all of its rows
        Set<String> rows = new TreeSet<>();
        for (byte[] row : pending.subMap(first, end).keySet()) {
            rows.add(PathBytes.toString(row));
        }
        for (LiveSegment live : segments) {
            PathTable paths = live.segment().paths;
            for (int row = paths.from(first); row < paths.from(end); row++) {
                rows.add(PathBytes.toString(paths.at(row)));
            }
        }
        rows.removeIf(row -> !Moments.file(row).equals(file));
        return rows;
    }

    /** Mark the committed photo at a path as deleted. */
    private boolean markDeleted(byte[] path) throws IOException {
        newWords.remove(path);
        boolean found = false;
        for (int s = 0; s < segments.size(); s++) {
            int row = segments.get(s).segment().paths.find(path);
            if (row >= 0 && !deleted.get(s).get(row)) {
                deleted.get(s).set(row);
                found = true;
            }
        }
        return found;
    }

    /**
     * Write one segment and the manifest that names it; without changes, do nothing. IllegalStateException if this
     * writer has committed: open another.
     */
    public void commit() throws IOException {
        if (committed) {
            throw new IllegalStateException("A writer commits once.");
        }
        if (!changed) {
            return;
        }
        try {
            write();
        } catch (IOException error) {
            throw notWritten(error);
        }
        committed = true;
        index.reload();
        Manifest.read(index.directory).removeStrays(index.directory);
    }

    private IOException notWritten(IOException error) {
        return error instanceof McadException ? error
            : new McadException(McadException.Kind.STORAGE,
                "The index " + index.directory + " could not be written: " + error + ".",
                "Check free space; no photo that was indexed is lost.", error);
    }

    private void write() throws IOException {
        long[] live = new long[segments.size()];
        long[] dead = new long[segments.size()];
        int largest = -1;
        for (int s = 0; s < live.length; s++) {
            dead[s] = deleted.get(s).cardinality();
            live[s] = segments.get(s).segment().photos - dead[s];
            if (live[s] > 0 && (largest < 0 || live[s] > live[largest])) {
                largest = s;
            }
        }
        float[] axis = largest < 0 ? new float[manifest.dim()] : segments.get(largest).segment().axis;
        long axisPhotos = largest < 0 ? 0 : segments.get(largest).segment().axisPhotos;
        Tuning tuning = largest < 0 ? Tuning.none() : Tuning.of(segments.get(largest));
        byte[] merged = new byte[live.length];
        boolean newAxis = Kernel.planMerge(live, dead, pending.size(), axisPhotos, merged);
        long generation = manifest.generation() + 1;
        List<Manifest.Entry> entries = new ArrayList<>();
        for (int s = 0; s < live.length; s++) {
            if (merged[s] == 0) {
                entries.add(keptEntry(s, generation));
            }
        }
        CommitSource source = new CommitSource(segments, deleted, pending, spool, manifest.dim(), merged);
        int photos = source.photos();
        if (photos > 0) {
            source.verify();
            if (newAxis) {
                axis = source.newAxis();
                axisPhotos = photos;
                tuning = source.tuning(axis, index.cellsFrom, index.cellsAtAnyCost);
            }
            if (photos < index.cellsFrom) {
                tuning = tuning.withoutCells();
            }
            char[] cells = tuning.cells() == 0 ? null : source.cells(axis, tuning);
            int sampled = largest < 0 || pending.size() > live[largest] ? segments.size() : largest;
            ByteBuffer feedback = source.feedback(axis, sampled);
            String name = Manifest.segmentName(generation);
            try (SegmentWriter out = new SegmentWriter(index.directory.resolve(name), axis, tuning, cells, photos)) {
                source.merge(axis, feedback, out);
                long crc = out.finish(axisPhotos);
                Manifest.Entry entry = new Manifest.Entry(name, photos, crc, new int[0], tuning.candidates(),
                    tuning.prescan(), tuning.cellCandidates(), null);
                boolean hasWords = !newWords.isEmpty() || segments.stream().anyMatch(segment -> segment.words() != null);
                entries.add(hasWords ? withWords(entry, generation, source::visit) : entry);
            }
        }
        new Manifest(generation, manifest.dim(), manifest.student(), manifest.studentSha256(), entries,
            new ArrayList<>(filledBy)).write(index.directory);
    }

    /** A segment that stays, with its deleted rows, and a new file of words if some of its photos' are new. */
    private Manifest.Entry keptEntry(int s, long generation) throws IOException {
        LiveSegment live = segments.get(s);
        PathTable paths = live.segment().paths;
        Manifest.Entry entry = manifest.segments().get(s).without(deleted.get(s).stream().toArray());
        boolean isWorded = false;
        for (byte[] path : newWords.keySet()) {
            int row = paths.find(path);
            isWorded |= row >= 0 && !deleted.get(s).get(row);
        }
        if (!isWorded) {
            return entry;
        }
        if (live.words() != null) {
            live.words().verify();
        }
        return withWords(entry, generation, visitor -> {
            for (int row = 0; row < entry.photos(); row++) {
                visitor.take(paths.at(row), s, row);
            }
        });
    }

    private interface Rows {
        void visit(CommitSource.Visitor visitor) throws IOException;
    }

    /** Write the words of a segment's photos, which are {@code rows}; its entry with their file. */
    private Manifest.Entry withWords(Manifest.Entry entry, long generation, Rows rows) throws IOException {
        WordsFile.Builder out = new WordsFile.Builder(entry.photos(), segments);
        Map<String, PhotoWords> named = new LinkedHashMap<>();
        List<Integer> newRows = new ArrayList<>();
        int[] next = {0};
        rows.visit((path, source, row) -> {
            int newRow = next[0]++;
            PhotoWords words = newWords.get(path);
            WordsFile old = source < segments.size() ? segments.get(source).words() : null;
            if (words == null && old != null && !pending.containsKey(path)) {
                out.keep(newRow, source, row);
                return;
            }
            if (words == null) { // a photo that moved has another name
                words = old == null ? PhotoWords.NONE : old.photos(row).get(0);
            }
            named.put(PathBytes.toString(path), words);
            newRows.add(newRow);
        });
        Map<String, String> names = index.names(new ArrayList<>(named.keySet()));
        Iterator<Integer> rowsOfNamed = newRows.iterator();
        for (Map.Entry<String, PhotoWords> photo : named.entrySet()) {
            out.add(rowsOfNamed.next(), names.getOrDefault(Moments.file(photo.getKey()), ""), photo.getValue());
        }
        String name = Manifest.wordsName(entry.file(), generation);
        out.write(index.directory.resolve(name), entry.headerCrc());
        return entry.withWords(name);
    }

    /** Drops uncommitted changes. */
    @Override
    public void close() throws IOException {
        try (lock; spool) {
            PhotoIndex.closeAll(segments);
        }
    }
}
