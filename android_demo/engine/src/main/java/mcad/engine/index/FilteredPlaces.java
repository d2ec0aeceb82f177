package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.stream.IntStream;

/**
 * The places of a segment whose photos a search may find: they are not deleted, and pass the filter if there is one. It
 * is made once for a filter, not for each search.
 */
final class FilteredPlaces {
    private final Segment segment;
    /** Null: all. */
    private final BitSet places;
    private final int count;
    private final boolean filtered;
    /** How many are in each cell; null without cells. */
    private final int[] inCells;

    private FilteredPlaces(Segment segment, BitSet places, boolean filtered) {
        this.segment = segment;
        this.places = places;
        this.filtered = filtered;
        count = places == null ? segment.photos : places.cardinality();
        inCells = segment.places.areRows() ? null : counted(segment.places, places);
    }

    /** The places of all live rows. */
    static FilteredPlaces live(LiveSegment live) throws IOException {
        Segment segment = live.segment();
        if (live.deleted().length == 0) {
            return new FilteredPlaces(segment, null, false);
        }
        BitSet rows = new BitSet(segment.photos);
        rows.set(0, segment.photos);
        for (int row : live.deleted()) {
            rows.clear(row);
        }
        return new FilteredPlaces(segment, segment.places.of(rows), false);
    }

    /** The places of the live rows that pass a filter. */
    static FilteredPlaces among(Segment segment, BitSet rows) throws IOException {
        return new FilteredPlaces(segment, segment.places.of(rows), true);
    }

    private static int[] counted(PlaceTable all, BitSet passing) {
        int[] counts = new int[all.cells()];
        for (int cell = 0; cell < counts.length; cell++) {
            int from = all.start(cell);
            int until = all.start(cell + 1);
            counts[cell] = passing == null ? until - from : passing.get(from, until).cardinality();
        }
        return counts;
    }

    int count() {
        return count;
    }

    boolean has(int place) {
        return places == null || places.get(place);
    }

    /** The first from a place on; below 0 where there is none. */
    int next(int place) {
        if (places == null) {
            return place < count ? place : -1;
        }
        return places.nextSetBit(place);
    }

    /** Whether there is a filter that fewer than one photo in {@code of} passes. */
    boolean isSparse(int of) {
        return filtered && count < segment.photos / of;
    }

    /** All, ascending. */
    int[] all() {
        return places == null ? IntStream.range(0, count).toArray() : places.stream().toArray();
    }

    /**
     * The first cells of an order that hold {@code wanted} of them, as ranges of places: from, until, from, until ...
     */
    int[] ranges(int[] order, int wanted) {
        int held = 0;
        int chosen = 0;
        while (held < wanted && chosen < order.length) {
            held += inCells[order[chosen++]];
        }
        int[] cells = Arrays.copyOf(order, chosen);
        Arrays.sort(cells);
        int[] ranges = new int[2 * chosen];
        int ends = 0;
        for (int cell : cells) {
            if (ends == 0 || ranges[ends - 1] != segment.places.start(cell)) {
                ranges[ends] = segment.places.start(cell);
                ends += 2;
            }
            ranges[ends - 1] = segment.places.start(cell + 1);
        }
        return Arrays.copyOf(ranges, ends);
    }
}
