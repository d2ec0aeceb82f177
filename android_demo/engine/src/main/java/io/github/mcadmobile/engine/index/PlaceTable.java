package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.BitSet;

/**
 * Maps places of a segment to rows of its photos, and back. Photos of one cell are adjacent; without cells, place and
 * row are equal. Damage is detected when a place is read.
 */
final class PlaceTable {
    private static final int CHUNK = 1 << 16;

    private final SegmentFile file;
    private final long offset;
    /** The rows of all places, mapped; null without cells. */
    private final ByteBuffer mapped;
    private final int photos;
    /** The first place of each cell, then N; null without cells. */
    private final int[] starts;
    /** The place of each row; null until the first call of {@link #of(int)}. */
    private int[] ofRows;

    private interface Visitor {
        void see(int place, int row) throws IOException;
    }

    private PlaceTable(SegmentFile file, long offset, ByteBuffer mapped, int photos, int[] starts) {
        this.file = file;
        this.offset = offset;
        this.mapped = mapped;
        this.photos = photos;
        this.starts = starts;
    }

    static PlaceTable ofRows(SegmentFile file, int photos) {
        return new PlaceTable(file, 0, null, photos, null);
    }

    /** {@code starts} and {@code rows}: the offsets of those parts. */
    static PlaceTable ofCells(SegmentFile file, long starts, int count, long rows, int photos) throws IOException {
        int[] all = new int[count + 1];
        file.read(starts, 4 * all.length).asIntBuffer().get(all);
        boolean ordered = all[0] == 0 && all[count] == photos;
        for (int c = 0; c < count; c++) {
            ordered &= all[c] <= all[c + 1];
        }
        if (!ordered) {
            throw file.damaged("its cells don't start one behind the other, from 0 to " + photos);
        }
        return new PlaceTable(file, rows, file.map(rows, 4L * photos), photos, all);
    }

    boolean areRows() {
        return starts == null;
    }

    /** The first place of a cell; N for the cell after the last. */
    int start(int cell) {
        return starts[cell];
    }

    /** The first places of all cells and N, for {@link Kernel}. */
    int[] starts() {
        return starts;
    }

    ByteBuffer mapped() {
        return mapped;
    }

    /** The number of cells; 0 if places are rows. */
    int cells() {
        return starts == null ? 0 : starts.length - 1;
    }

    int cellOf(int place) {
        int low = 0;
        int high = starts.length - 2;
        while (low < high) { // find the last cell that starts at or before it
            int middle = (low + high + 1) >>> 1;
            if (starts[middle] <= place) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        return low;
    }

    /** The row of the photo at a place. */
    int rowAt(int place) throws IOException {
        return starts == null ? place : checked(file.read(offset + 4L * place, 4).getInt());
    }

    /** The place of a row. The first call reads all rows. */
    int of(int row) throws IOException {
        if (starts == null) {
            return row;
        }
        if (ofRows == null) {
            int[] found = new int[photos];
            visit((place, at) -> found[at] = place);
            ofRows = found;
        }
        return ofRows[row];
    }

    /** Check that each row has one place, and that the rows of a cell ascend. */
    void verify() throws IOException {
        if (starts == null) {
            return;
        }
        BitSet seen = new BitSet(photos);
        int[] last = new int[1];
        int[] cell = {-1};
        visit((place, row) -> {
            while (place >= starts[cell[0] + 1]) {
                cell[0]++;
                last[0] = -1;
            }
            if (row <= last[0] || seen.get(row)) {
                throw file.damaged("its cells don't hold each photo once and in order: not row " + row);
            }
            seen.set(row);
            last[0] = row;
        });
    }

    private void visit(Visitor visitor) throws IOException {
        for (int start = 0; start < photos; start += CHUNK) {
            int count = Math.min(CHUNK, photos - start);
            IntBuffer rows = file.read(offset + 4L * start, 4 * count).asIntBuffer();
            for (int i = 0; i < count; i++) {
                visitor.see(start + i, checked(rows.get(i)));
            }
        }
    }

    private int checked(int row) throws McadException {
        if (row < 0 || row >= photos) {
            throw file.damaged("one of its cells names row " + (row & 0xffffffffL) + " of " + photos);
        }
        return row;
    }
}
