package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.LongBuffer;
import java.util.Arrays;

/**
 * The paths of a segment, ascending, in blocks of sixteen; each is stored without the prefix that it shares with the
 * one before it.
 */
final class PathTable {
    static final int BLOCK = 16;
    static final int ENTRY = 3;
    static final int MOST_SHARED = 255;

    private final int count;
    private final long size;
    private final LongBuffer starts;
    private final SegmentFile file;
    private final long offset;
    private int cached = -1;
    private byte[][] block;

    /** {@code starts}: the part path_blocks; {@code offset} and {@code size}: where the part paths lies in the file. */
    PathTable(SegmentFile file, int count, LongBuffer starts, long offset, long size) {
        this.file = file;
        this.count = count;
        this.starts = starts;
        this.offset = offset;
        this.size = size;
    }

    /** The path of a row. */
    byte[] at(int row) throws IOException {
        return block(row / BLOCK)[row % BLOCK];
    }

    /** The row of a path, or -1. */
    int find(byte[] path) throws IOException {
        int row = from(path);
        return row < count && Arrays.equals(at(row), path) ? row : -1;
    }

    /** The first row whose path does not sort before {@code path}. */
    int from(byte[] path) throws IOException {
        int low = 0;
        int high = (count + BLOCK - 1) / BLOCK;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (PathBytes.compare(block(middle)[0], path) <= 0) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        int row = Math.max(0, low - 1) * BLOCK;
        while (row < Math.min(low * BLOCK, count) && PathBytes.compare(at(row), path) < 0) {
            row++;
        }
        return row;
    }

    private byte[][] block(int number) throws IOException {
        if (number != cached) {
            block = unpack(number);
            cached = number;
        }
        return block;
    }

    /** Write a block's start and end in the file to {@code spans[at]} and {@code spans[at + 1]}. */
    void span(int number, long[] spans, int at) throws IOException {
        long start = starts.get(number);
        long stop = number + 1 < starts.limit() ? starts.get(number + 1) : size;
        if (start < 0 || start >= stop || stop > size || stop - start > Integer.MAX_VALUE) {
            throw file.damaged("block " + number + " of its paths is at bytes " + start + " to " + stop);
        }
        spans[at] = offset + start;
        spans[at + 1] = offset + stop;
    }

    private byte[][] unpack(int number) throws IOException {
        long[] span = new long[2];
        span(number, span, 0);
        ByteBuffer data = file.read(span[0], (int) (span[1] - span[0]));
        byte[][] paths = new byte[Math.min(BLOCK, count - number * BLOCK)][];
        byte[] before = new byte[0];
        for (int i = 0; i < paths.length; i++) {
            if (data.remaining() < ENTRY) {
                throw file.damaged("block " + number + " of its paths ends too soon");
            }
            int shared = data.get() & 0xff;
            int length = data.getShort() & 0xffff;
            if (length > data.remaining() || shared > before.length || shared + length == 0) {
                throw file.damaged("block " + number + " of its paths has a path that can't be");
            }
            byte[] path = Arrays.copyOf(before, shared + length);
            data.get(path, shared, length);
            paths[i] = path;
            before = path;
        }
        return paths;
    }
}
