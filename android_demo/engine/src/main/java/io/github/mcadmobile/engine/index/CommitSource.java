package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The photos that a commit writes: live rows of the merged segments, and pending photos, which are rows of a segment or
 * of the spool. The spool is the source after the last segment.
 */
final class CommitSource {
    private static final int BLOCK = 256;

    private final List<LiveSegment> segments;
    private final List<BitSet> deleted;
    private final TreeMap<byte[], Pending> pending;
    private final Spool spool;
    private final int dim;
    private final byte[] merged;
    /** The rows of each source that are written. */
    private final List<BitSet> written = new ArrayList<>();

    /** A photo to write: the number of its source, its row there, its stamps and its time. */
    record Pending(int source, int row, int stamp, int contentStamp, int time) {}

    /** Takes a photo: its path, the number of its source, its row there. */
    interface Visitor {
        void take(byte[] path, int source, int row) throws IOException;
    }

    private interface Block {
        void take(float[] rows) throws IOException;
    }

    /** {@code merged}: 1 for each segment that is merged. */
    CommitSource(List<LiveSegment> segments, List<BitSet> deleted, TreeMap<byte[], Pending> pending, Spool spool, int dim,
            byte[] merged) {
        this.segments = segments;
        this.deleted = deleted;
        this.pending = pending;
        this.spool = spool;
        this.dim = dim;
        this.merged = merged;
        for (int s = 0; s <= segments.size(); s++) {
            written.add(s < segments.size() && merged[s] != 0 ? live(s) : new BitSet());
        }
        for (Pending item : pending.values()) {
            written.get(item.source).set(item.row);
        }
    }

    private BitSet live(int s) {
        BitSet rows = (BitSet) deleted.get(s).clone();
        rows.flip(0, segments.get(s).segment().photos);
        return rows;
    }

    /** The number of photos. */
    int photos() {
        return written.stream().mapToInt(BitSet::cardinality).sum();
    }

    /** Otherwise damaged bytes would be copied under a valid checksum. */
    void verify() throws IOException {
        for (int s = 0; s < segments.size(); s++) {
            if (!written.get(s).isEmpty()) {
                segments.get(s).verify();
            }
        }
    }

    /** The direction of the mean of all photos; zeros if they cancel out. */
    float[] newAxis() throws IOException {
        double[] total = new double[dim];
        for (int source = 0; source < written.size(); source++) {
            read(source, written.get(source), 1, rows -> Kernel.addUp(rows, total));
        }
        float[] axis = new float[dim];
        Kernel.axis(total, axis);
        return axis;
    }

    /** The cheapest tuning, from every n-th row of each source. */
    Tuning tuning(float[] axis, int cellsFrom, boolean atAnyCost) throws IOException {
        int step = Kernel.sampleStep(photos(), dim);
        int count = 0;
        for (BitSet rows : written) {
            count += (rows.cardinality() + step - 1) / step;
        }
        ByteBuffer sample = Tuning.bytes(2 * count * dim);
        int[] at = {0};
        for (int source = 0; source < written.size(); source++) {
            read(source, written.get(source), step, rows -> {
                Kernel.shrink(rows, dim, sample, at[0]);
                at[0] += rows.length / dim;
            });
        }
        return Tuning.choose(sample, count, axis, photos(), cellsFrom, atAnyCost);
    }

    /** What compensates for rounding errors, from a sample of a source; null if that is not worthwhile. */
    ByteBuffer feedback(float[] axis, int source) throws IOException {
        BitSet rows = source < segments.size() ? live(source) : written.get(source);
        int step = Kernel.feedbackStep(rows.cardinality(), dim);
        if (step == 0) {
            return null;
        }
        ByteBuffer covariance = Tuning.bytes(8 * dim * dim);
        ByteBuffer shares = Tuning.bytes(4 * dim * dim);
        read(source, rows, step, block -> Kernel.addCovariance(block, axis, covariance));
        return Kernel.feedback(covariance, dim, shares) ? shares : null;
    }

    /** Read the embeddings of every {@code step}-th of some rows, ascending, in blocks. */
    private void read(int source, BitSet rows, int step, Block block) throws IOException {
        int[] chosen = rows.stream().toArray();
        int[] next = new int[BLOCK];
        for (int at = 0, count = 0; at < chosen.length; at += step) {
            next[count++] = chosen[at];
            if (count == BLOCK || at + step >= chosen.length) {
                block.take(embeddings(source, Arrays.copyOf(next, count)));
                count = 0;
            }
        }
    }

    private float[] embeddings(int source, int... rows) throws IOException {
        return source < segments.size() ? Records.decoded(segments.get(source).segment(), rows) : spool.read(rows);
    }

    /** The cell of each photo in the order in which {@link #merge} writes them: at most 65,535 cells fit in a char. */
    char[] cells(float[] axis, Tuning tuning) throws IOException {
        char[] cellOfPhoto = new char[photos()];
        boolean[] hasCells = new boolean[segments.size() + 1];
        for (int s = 0; s < segments.size(); s++) {
            hasCells[s] = segments.get(s).segment().centroids.equals(tuning.centroids());
        }
        float[] block = new float[BLOCK * dim];
        int[] unknown = new int[BLOCK];
        int count = 0;
        MergedRows rows = new MergedRows();
        for (int at = 0; rows.next(); at++) {
            Pending item = rows.item;
            if (hasCells[item.source]) {
                PlaceTable places = segments.get(item.source).segment().places;
                cellOfPhoto[at] = (char) places.cellOf(places.of(item.row));
            } else {
                System.arraycopy(embeddings(item.source, item.row), 0, block, count * dim, dim);
                unknown[count++] = at;
            }
            if (count == BLOCK || at == cellOfPhoto.length - 1) {
                int[] found = new int[count];
                Kernel.assignCells(Arrays.copyOf(block, count * dim), axis, tuning.centroids(), tuning.cells(), found);
                for (int i = 0; i < count; i++) {
                    cellOfPhoto[unknown[i]] = (char) found[i];
                }
                count = 0;
            }
        }
        return cellOfPhoto;
    }

    /** Write the photos by ascending path. */
    void merge(float[] axis, ByteBuffer feedback, SegmentWriter out) throws IOException {
        Batch batch = new Batch(axis, feedback, out);
        MergedRows rows = new MergedRows();
        while (rows.next()) {
            batch.add(rows.path, rows.item);
        }
        batch.write();
    }

    /** Visit the photos in the order in which {@link #merge} writes them. */
    void visit(Visitor visitor) throws IOException {
        MergedRows rows = new MergedRows();
        while (rows.next()) {
            visitor.take(rows.path, rows.item.source, rows.item.row);
        }
    }

    /** Photos to encode at once. */
    private final class Batch {
        private final int size = Records.size(dim);
        private final float[] axis;
        private final ByteBuffer feedback;
        private final SegmentWriter out;
        private final byte[][] paths = new byte[BLOCK][];
        private final Pending[] items = new Pending[BLOCK];
        private final byte[] records = new byte[BLOCK * size];
        private final int[] encoded = new int[BLOCK];
        private final float[] embeddings = new float[BLOCK * dim];
        private int count;
        private int toEncode;

        Batch(float[] axis, ByteBuffer feedback, SegmentWriter out) {
            this.axis = axis;
            this.feedback = feedback;
            this.out = out;
        }

        /** A row with the same axis is copied, so that no photo is rounded twice. */
        void add(byte[] path, Pending item) throws IOException {
            Segment segment = item.source < segments.size() ? segments.get(item.source).segment() : null;
            if (segment != null && Arrays.equals(segment.axis, axis)) {
                Records.read(segment, segment.places.of(item.row), segment.places.areRows(), records, count * size);
            } else {
                System.arraycopy(embeddings(item.source, item.row), 0, embeddings, toEncode * dim, dim);
                encoded[toEncode++] = count;
            }
            paths[count] = path;
            items[count++] = item;
            if (count == BLOCK) {
                write();
            }
        }

        void write() throws IOException {
            byte[] made = new byte[toEncode * size];
            Kernel.encode(Arrays.copyOf(embeddings, toEncode * dim), axis, feedback, made);
            for (int i = 0; i < toEncode; i++) {
                System.arraycopy(made, i * size, records, encoded[i] * size, size);
            }
            for (int i = 0; i < count; i++) {
                out.add(paths[i], records, i * size, items[i].time, items[i].stamp, items[i].contentStamp);
            }
            count = 0;
            toEncode = 0;
        }
    }

    /** Walks merged segments and pending photos by ascending path. */
    private final class MergedRows {
        byte[] path;
        Pending item;
        private final List<Cursor> cursors = new ArrayList<>();
        private final Iterator<Map.Entry<byte[], Pending>> pendingEntries = pending.entrySet().iterator();
        private Map.Entry<byte[], Pending> pendingNext;

        MergedRows() throws IOException {
            for (int s = 0; s < merged.length; s++) {
                if (merged[s] != 0) {
                    cursors.add(new Cursor(s));
                }
            }
            pendingNext = pendingEntries.hasNext() ? pendingEntries.next() : null;
        }

        boolean next() throws IOException {
            Cursor first = null;
            for (Cursor cursor : cursors) {
                if (cursor.path != null && (first == null || PathBytes.compare(cursor.path, first.path) < 0)) {
                    first = cursor;
                }
            }
            if (first == null && pendingNext == null) {
                return false;
            }
            if (first == null || pendingNext != null && PathBytes.compare(pendingNext.getKey(), first.path) < 0) {
                path = pendingNext.getKey();
                item = pendingNext.getValue();
                pendingNext = pendingEntries.hasNext() ? pendingEntries.next() : null;
            } else {
                Segment segment = segments.get(first.segment).segment();
                path = first.path;
                item = new Pending(first.segment, first.row, segment.stamps.get(2 * first.row),
                    segment.stamps.get(2 * first.row + 1), segment.times.get(first.row));
                first.advance();
            }
            return true;
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
}
