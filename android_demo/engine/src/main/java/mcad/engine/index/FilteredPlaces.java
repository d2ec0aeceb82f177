package mcad.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.BitSet;
import java.util.stream.IntStream;

/**
 * The photos of a segment that a search may find: they are not deleted, and pass the filter if there is one. It is made
 * once for a filter, not for each search. With cells, the bits of a cell's places are set when it is first looked into.
 */
final class FilteredPlaces {
    private final Segment segment;
    private final int count;
    /** A bit a row and a bit a place, the same without cells; null: all. */
    private final ByteBuffer rowBits;
    private final ByteBuffer allowed;
    /** How many are in each cell; below 0 where that is not known yet. */
    private final int[] counts;

    /** {@code rows} that pass; null: all. */
    private FilteredPlaces(Segment segment, BitSet rows) {
        this.segment = segment;
        count = rows == null ? segment.photos : rows.cardinality();
        rowBits = rows == null ? null : bits(segment.photos);
        if (rows != null) {
            rowBits.asLongBuffer().put(rows.toLongArray());
        }
        allowed = rows == null || segment.places.areRows() ? rowBits : bits(segment.photos);
        counts = new int[segment.places.cells()];
        Arrays.fill(counts, -1);
    }

    private static ByteBuffer bits(int photos) {
        return ByteBuffer.allocateDirect((photos + 63) / 64 * 8).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** All live rows. */
    static FilteredPlaces live(LiveSegment live) {
        if (live.deleted().length == 0) {
            return new FilteredPlaces(live.segment(), null);
        }
        BitSet rows = new BitSet(live.segment().photos);
        rows.set(0, live.segment().photos);
        for (int row : live.deleted()) {
            rows.clear(row);
        }
        return new FilteredPlaces(live.segment(), rows);
    }

    /** The live rows that pass a filter. */
    static FilteredPlaces among(Segment segment, BitSet rows) {
        return new FilteredPlaces(segment, rows);
    }

    int count() {
        return count;
    }

    /** A bit a place, for {@link Kernel}; null: all. */
    ByteBuffer allowed() {
        return allowed;
    }

    /** All places, ascending. */
    int[] all() throws IOException {
        if (allowed == null) {
            return IntStream.range(0, count).toArray();
        }
        if (counts.length > 0) {
            probe(IntStream.range(0, counts.length).toArray(), count);
        }
        return BitSet.valueOf(allowed.asLongBuffer()).stream().toArray();
    }

    /** The first cells of an order that hold {@code enough}, as spans of places: from, to before, from ... */
    int[] spans(int[] order, int enough) throws IOException {
        int[] cells = Arrays.copyOf(order, probe(order, enough));
        Arrays.sort(cells);
        int[] spans = new int[2 * cells.length];
        int ends = 0;
        for (int cell : cells) {
            int from = segment.places.start(cell);
            int until = segment.places.start(cell + 1);
            if (from == until) {
                continue;
            }
            if (ends == 0 || spans[ends - 1] != from) {
                spans[ends] = from;
                ends += 2;
            }
            spans[ends - 1] = until;
        }
        return Arrays.copyOf(spans, ends);
    }

    private int probe(int[] order, int enough) throws IOException {
        int probed = Kernel.probe(segment.places.mapped(), segment.photos, segment.places.starts(), rowBits, allowed,
            counts, order, enough);
        if (probed < 0) {
            throw segment.file.damaged("one of its cells names a row that is not there");
        }
        return probed;
    }
}
