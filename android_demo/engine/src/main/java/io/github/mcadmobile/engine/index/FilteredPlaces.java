package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.BitSet;
import java.util.stream.IntStream;

/**
 * The photos of a segment that a search may find: not deleted, and passing the filter if there is one. Computed once
 * per filter, not per search. With cells, the bits of a cell's places are set when the cell is first probed.
 */
final class FilteredPlaces {
    private final Segment segment;
    private final int count;
    /** One bit per row and per place, the same buffer without cells; null: all pass. */
    private final ByteBuffer rowBits;
    private final ByteBuffer allowed;
    /** The number of passing photos per cell; negative while unknown. */
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

    /** One bit per row; null: all pass. */
    ByteBuffer rowBits() {
        return rowBits;
    }

    /** One bit per place, for {@link Kernel}; null: all pass. */
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

    /** The first cells in order that hold {@code enough} photos, as spans of places: from, until, from, ... */
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
