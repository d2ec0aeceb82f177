package mcad.engine.index;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** The photos that a commit writes: live rows of the merged segments, and pending photos. */
final class CommitSource {
    static final int SPOOL = -1;

    private final List<LiveSegment> segments;
    private final List<BitSet> deleted;
    private final TreeMap<byte[], Pending> pending;
    private final Spool spool;
    private final int dim;
    private final Codes.Row numbers;

    /** A photo to write: the number of its segment, or SPOOL, its row there, its stamps and its time. */
    record Pending(int source, int row, int stamp, int contentStamp, int time) {}

    CommitSource(List<LiveSegment> segments, List<BitSet> deleted, TreeMap<byte[], Pending> pending, Spool spool, int dim) {
        this.segments = segments;
        this.deleted = deleted;
        this.pending = pending;
        this.spool = spool;
        this.dim = dim;
        numbers = new Codes.Row(dim);
    }

    /** The direction of the mean of all photos; zeros if they cancel out. */
    float[] newAxis() throws IOException {
        double[] total = new double[dim];
        for (int s = 0; s < segments.size(); s++) {
            int photos = segments.get(s).segment().photos;
            for (int row = next(s, 0); row < photos; row = next(s, row + 1)) {
                addTo(total, decoded(s, row, true));
            }
        }
        for (Pending item : pending.values()) {
            addTo(total, embedding(item));
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

    private static void addTo(double[] total, float[] row) {
        for (int i = 0; i < total.length; i++) {
            total[i] += row[i];
        }
    }

    /** Rotated embeddings of every n-th of {@code photos} photos. */
    List<float[]> sample(int photos) throws IOException {
        int step = Math.max(1, -Math.floorDiv(-photos, TuningChoice.sampleSize(dim)));
        List<float[]> sample = new ArrayList<>();
        int seen = 0;
        for (int s = 0; s < segments.size(); s++) {
            for (int row = next(s, 0); row < segments.get(s).segment().photos; row = next(s, row + 1)) {
                if (seen++ % step == 0) {
                    sample.add(decoded(s, row, false));
                }
            }
        }
        for (Pending item : pending.values()) {
            if (seen++ % step == 0) {
                sample.add(embedding(item));
            }
        }
        return sample;
    }

    /** The cell of each photo in the order in which {@link #merge} writes them: at most 65,535 cells fit in a char. */
    char[] cells(boolean[] merged, float[] axis, Cells cells, int photos) throws IOException {
        boolean[] hasCells = new boolean[segments.size()];
        for (int s = 0; s < hasCells.length; s++) {
            Segment segment = segments.get(s).segment();
            hasCells[s] = Arrays.equals(segment.axis, axis) && cells.isSame(segment.cells);
        }
        char[] cellOfPhoto = new char[photos];
        int[] steps = new int[dim];
        Cells.Nearest nearest = cells.new Nearest();
        MergedRows rows = new MergedRows(merged);
        for (int at = 0; rows.next(); at++) {
            Pending item = rows.item;
            if (item.source != SPOOL && hasCells[item.source]) {
                PlaceTable places = segments.get(item.source).segment().places;
                cellOfPhoto[at] = (char) places.cellOf(places.of(item.row));
            } else {
                Cells.residual(embedding(item), axis, steps);
                cellOfPhoto[at] = (char) nearest.to(steps);
            }
        }
        return cellOfPhoto;
    }

    /** Write the rows of the merged segments and the pending photos, by ascending path. */
    void merge(boolean[] merged, float[] axis, SegmentWriter out) throws IOException {
        MergedRows rows = new MergedRows(merged);
        while (rows.next()) {
            Pending item = rows.item;
            encode(item, axis);
            out.add(rows.path, numbers, item.time, item.stamp, item.contentStamp);
        }
    }

    /** A row with the same axis is copied, so that no photo is rounded twice. */
    private void encode(Pending item, float[] axis) throws IOException {
        if (item.source != SPOOL && Arrays.equals(segments.get(item.source).segment().axis, axis)) {
            read(item.source, item.row, true);
        } else {
            numbers.encode(embedding(item), axis);
        }
    }

    private float[] embedding(Pending item) throws IOException {
        return item.source == SPOOL ? spool.read(item.row) : decoded(item.source, item.row, true);
    }

    private float[] decoded(int s, int row, boolean dense) throws IOException {
        read(s, row, dense);
        return numbers.decode(segments.get(s).segment().axis);
    }

    /** {@code dense}: many rows follow in ascending order; without cells, so do their places. */
    private void read(int s, int row, boolean dense) throws IOException {
        Segment segment = segments.get(s).segment();
        numbers.read(segment, segment.places.of(row), dense && segment.places.areRows());
    }

    private int next(int s, int row) {
        return deleted.get(s).nextClearBit(row);
    }

    /** Walks merged segments and pending photos by ascending path. */
    private final class MergedRows {
        byte[] path;
        Pending item;
        private final List<Cursor> cursors = new ArrayList<>();
        private final Iterator<Map.Entry<byte[], Pending>> pendingEntries = pending.entrySet().iterator();
        private Map.Entry<byte[], Pending> pendingNext;

        MergedRows(boolean[] merged) throws IOException {
            for (int s = 0; s < merged.length; s++) {
                if (merged[s]) {
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
            row = next(segment, row + 1);
            Segment rows = segments.get(segment).segment();
            path = row < rows.photos ? rows.paths.at(row) : null;
        }
    }
}
