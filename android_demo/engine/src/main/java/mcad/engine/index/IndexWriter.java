package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import mcad.engine.Fsync;
import mcad.engine.McadException;
import mcad.engine.Vectors;

/**
 * Changes to an index: gathered first, then one {@link #commit} that a crash can't tear. Without it, nothing has
 * happened. New embeddings wait in a file, since the axis they are coded around is known only when the last is there.
 */
public final class IndexWriter implements Closeable {
    private static final int SPOOL = -1;

    private final PhotoIndex index;
    private final Rotation rotation;
    private final WriterLock lock;
    private final Manifest manifest;
    private final List<LiveSegment> segments;
    private final List<BitSet> deleted = new ArrayList<>();
    private final TreeMap<byte[], Pending> pending = new TreeMap<>(PathBytes::compare);
    private final Spool spool;
    private final Set<String> filledBy;
    private boolean changed;
    private boolean converting;

    /** A photo to write: the number of its segment, or SPOOL, its row there, its stamps, and its time. */
    private record Pending(int source, int row, int stamp, int contentStamp, int taken) {}

    IndexWriter(PhotoIndex index, Rotation rotation) throws IOException {
        this.index = index;
        this.rotation = rotation;
        lock = new WriterLock(index.directory);
        try {
            // A rename that a crashed writer could not flush must be safe before files that only the commit before
            // it names are deleted.
            Fsync.directory(index.directory);
            PhotoIndex.Commit commit = PhotoIndex.load(index.directory);
            manifest = commit.manifest();
            segments = commit.segments();
            filledBy = new TreeSet<>(manifest.filledBy());
            manifest.removeStrays(index.directory);
            spool = new Spool(index.directory, manifest.dim());
        } catch (IOException | RuntimeException error) {
            lock.close();
            throw error;
        }
        for (LiveSegment live : segments) {
            BitSet rows = new BitSet();
            for (int row : live.deleted()) {
                rows.set(row);
            }
            deleted.add(rows);
        }
    }

    /** Note what has embedded the photos that are added; the commit keeps it. */
    public void filledBy(String arithmetic) {
        filledBy.add(arithmetic);
    }

    /** The same for a photo that was taken nobody knows when. */
    public void add(String path, float[] embedding, int stamp, int contentStamp) throws IOException {
        add(path, embedding, stamp, contentStamp, Segment.NO_TIME);
    }

    /**
     * Add a photo with an embedding of unit length; a path that exists is replaced. Stamps, and {@code taken}, minutes
     * since 1970: see the format.
     */
    public void add(String path, float[] embedding, int stamp, int contentStamp, int taken) throws IOException {
        byte[] raw = PathBytes.of(path);
        index.checkLength(embedding, "The embedding of " + path);
        float[] rotated = rotation.rotate(Vectors.normalized(embedding));
        int row = spool.append(rotated);
        bury(raw);
        pending.put(raw, new Pending(SPOOL, row, stamp, contentStamp, taken));
        changed = true;
    }

    /**
     * Keep the embedding of a committed photo whose file was only touched, or has another path by now; what is at that
     * path is replaced. False when there is no such photo.
     */
    public boolean move(String from, String to, int stamp, int contentStamp) throws IOException {
        byte[] old = PathBytes.of(from);
        byte[] raw = PathBytes.of(to);
        for (int s = 0; s < segments.size(); s++) {
            int row = segments.get(s).segment().paths.find(old);
            if (row >= 0 && !deleted.get(s).get(row)) {
                deleted.get(s).set(row);
                bury(raw);
                int taken = segments.get(s).segment().taken.get(row);
                pending.put(raw, new Pending(s, row, stamp, contentStamp, taken));
                changed = true;
                return true;
            }
        }
        return false;
    }

    /** Whether there was such a photo. */
    public boolean delete(String path) throws IOException {
        byte[] raw = PathBytes.of(path);
        boolean there = bury(raw);
        there |= pending.remove(raw) != null;
        changed |= there;
        return there;
    }

    /** Mark the committed photo of a path deleted. */
    private boolean bury(byte[] path) throws IOException {
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

    /** Write all as today's format does, in a commit of its own. */
    void convert() throws IOException {
        converting = manifest.layout() == Layout.PREVIOUS; // or another writer was first
        changed = converting;
        commit();
        if (!converting) {
            index.reload();
        }
        converting = false;
    }

    /** Write one segment and the manifest that names it; without changes, do nothing. */
    public void commit() throws IOException {
        if (!changed) {
            return;
        }
        try {
            write();
        } catch (McadException ours) {
            throw ours;
        } catch (IOException error) {
            throw new McadException(McadException.Kind.STORAGE,
                "The index " + index.directory + " could not be written: " + error + ".",
                "Check free space; no photo that was indexed is lost.", error);
        }
        pending.clear();
        changed = false;
        index.reload();
        Manifest.read(index.directory).removeStrays(index.directory);
    }

    private void write() throws IOException {
        int[] live = new int[segments.size()];
        int[] dead = new int[segments.size()];
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
        Lens lens = largest < 0 ? Lens.none()
            : new Lens(segments.get(largest).segment().lens, segments.get(largest).reach(),
                segments.get(largest).first());
        MergePlan plan = converting ? MergePlan.all(live.length) : MergePlan.of(live, dead, pending.size(), axisPhotos);
        int photos = pending.size();
        List<Manifest.Entry> entries = new ArrayList<>();
        Set<Integer> sources = new HashSet<>();
        for (int s = 0; s < live.length; s++) {
            if (plan.absorbed()[s]) {
                photos += live[s];
                sources.add(s);
            } else {
                Manifest.Entry old = manifest.segments().get(s);
                int[] rows = deleted.get(s).stream().toArray();
                entries.add(new Manifest.Entry(old.file(), old.photos(), old.headerCrc(), rows, old.reach(), old.first()));
            }
        }
        for (Pending item : pending.values()) {
            sources.add(item.source);
        }
        sources.remove(SPOOL);
        long generation = manifest.generation() + 1;
        if (photos > 0) {
            for (int s : sources) {
                // Copying unread bytes would give damage a checksum that says it is fine.
                segments.get(s).segment().verify();
            }
            if (plan.newAxis()) {
                axis = newAxis();
                axisPhotos = photos;
            }
            if (plan.newAxis() || converting) {
                lens = Lens.choose(sample(photos), axis, photos);
            }
            String name = Manifest.segmentName(generation);
            try (SegmentWriter out = new SegmentWriter(index.directory.resolve(name), axis, lens.weights(), photos)) {
                merge(plan.absorbed(), axis, out);
                entries.add(new Manifest.Entry(name, photos, out.finish(axisPhotos), new int[0], lens.reach(), lens.first()));
            }
        }
        new Manifest(generation, manifest.dim(), manifest.student(), manifest.studentSha256(), entries,
            new ArrayList<>(filledBy)).write(index.directory);
    }

    /** The direction of the mean of all photos, or zeros when they cancel out. */
    private float[] newAxis() throws IOException {
        double[] total = new double[manifest.dim()];
        Codes.Row numbers = new Codes.Row(manifest.dim());
        for (int s = 0; s < segments.size(); s++) {
            Segment segment = segments.get(s).segment();
            for (int row = deleted.get(s).nextClearBit(0); row < segment.photos;
                    row = deleted.get(s).nextClearBit(row + 1)) {
                numbers.read(segment, row, true);
                addTo(total, numbers.decode(segment.axis));
            }
        }
        for (Pending item : pending.values()) {
            addTo(total, embedding(item, numbers));
        }
        double square = 0;
        for (double value : total) {
            square += value * value;
        }
        float[] axis = new float[total.length];
        for (int i = 0; i < axis.length; i++) {
            axis[i] = square > 0 ? (float) (total[i] / Math.sqrt(square)) : 0;
        }
        return axis;
    }

    /** Rotated embeddings of a sample of all photos, of {@code photos} every so many. */
    private List<float[]> sample(int photos) throws IOException {
        int step = Math.max(1, -Math.floorDiv(-photos, Lens.sampleSize(manifest.dim())));
        List<float[]> sample = new ArrayList<>();
        Codes.Row numbers = new Codes.Row(manifest.dim());
        int seen = 0;
        for (int s = 0; s < segments.size(); s++) {
            Segment segment = segments.get(s).segment();
            for (int row = deleted.get(s).nextClearBit(0); row < segment.photos;
                    row = deleted.get(s).nextClearBit(row + 1)) {
                if (seen++ % step == 0) {
                    numbers.read(segment, row, false);
                    sample.add(numbers.decode(segment.axis));
                }
            }
        }
        for (Pending item : pending.values()) {
            if (seen++ % step == 0) {
                sample.add(embedding(item, numbers));
            }
        }
        return sample;
    }

    private static void addTo(double[] total, float[] row) {
        for (int i = 0; i < total.length; i++) {
            total[i] += row[i];
        }
    }

    private float[] embedding(Pending item, Codes.Row numbers) throws IOException {
        if (item.source != SPOOL) {
            Segment segment = segments.get(item.source).segment();
            numbers.read(segment, item.row, true);
            return numbers.decode(segment.axis);
        }
        return spool.read(item.row);
    }

    /** Rows of the absorbed segments and pending ones, by ascending path. */
    private void merge(boolean[] absorbed, float[] axis, SegmentWriter out) throws IOException {
        List<Cursor> cursors = new ArrayList<>();
        for (int s = 0; s < absorbed.length; s++) {
            if (absorbed[s]) {
                cursors.add(new Cursor(s));
            }
        }
        Iterator<Map.Entry<byte[], Pending>> fresh = pending.entrySet().iterator();
        Map.Entry<byte[], Pending> next = fresh.hasNext() ? fresh.next() : null;
        Codes.Row numbers = new Codes.Row(manifest.dim());
        while (true) {
            Cursor first = null;
            for (Cursor cursor : cursors) {
                if (cursor.path != null && (first == null || PathBytes.compare(cursor.path, first.path) < 0)) {
                    first = cursor;
                }
            }
            if (first == null && next == null) {
                return;
            }
            if (first == null || next != null && PathBytes.compare(next.getKey(), first.path) < 0) {
                Pending item = next.getValue();
                encode(item, axis, numbers);
                out.add(next.getKey(), numbers, item.taken, item.stamp, item.contentStamp);
                next = fresh.hasNext() ? fresh.next() : null;
            } else {
                Segment segment = segments.get(first.segment).segment();
                encode(new Pending(first.segment, first.row, 0, 0, 0), axis, numbers);
                out.add(first.path, numbers, segment.taken.get(first.row), segment.stamps.get(2 * first.row),
                    segment.stamps.get(2 * first.row + 1));
                first.advance();
            }
        }
    }

    /** A row of a segment with the same axis is copied: no photo is rounded twice. */
    private void encode(Pending item, float[] axis, Codes.Row numbers) throws IOException {
        if (item.source != SPOOL && Arrays.equals(segments.get(item.source).segment().axis, axis)) {
            numbers.read(segments.get(item.source).segment(), item.row, true);
        } else {
            numbers.encode(embedding(item, numbers), axis);
        }
    }

    /** Walks the live rows of a segment. */
    private final class Cursor {
        final int segment;
        int row = -1;
        byte[] path;

        Cursor(int segment) throws IOException {
            this.segment = segment;
            advance();
        }

        void advance() throws IOException {
            row = deleted.get(segment).nextClearBit(row + 1);
            Segment rows = segments.get(segment).segment();
            path = row < rows.photos ? rows.paths.at(row) : null;
        }
    }

    /** What was not committed is dropped. */
    @Override
    public void close() throws IOException {
        try {
            spool.close();
            PhotoIndex.closeAll(segments);
        } finally {
            lock.close();
        }
    }
}
