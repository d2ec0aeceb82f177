package io.github.mcadmobile.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32;

/**
 * Writes a segment row by row, by ascending path; each part streams to its place in the file. With cells, the cell of
 * each row is known beforehand: records are written at their place, while columns and the rows of places wait in
 * memory.
 */
final class SegmentWriter implements Closeable {
    private static final int BUFFER = 1 << 16;

    private final FileChannel channel;
    private final int dim;
    private final int scanned;
    private final long photos;
    /** One column per scanned word, written in parallel; none with cells. */
    private final Part[] columns;
    private final Part[] parts;
    private final Sorted sorted;
    private byte[] lastPath = new byte[0];
    private int rows;

    /** {@code cells}: the cell of each row, in the order of {@link #add}; null without cells. */
    SegmentWriter(Path file, float[] axis, Tuning tuning, char[] cells, int photos) throws IOException {
        dim = axis.length;
        scanned = tuning.scanned();
        this.photos = photos;
        parts = new Part[Layout.PARTS.length];
        channel = FileChannel.open(file, StandardOpenOption.CREATE_NEW, StandardOpenOption.READ, StandardOpenOption.WRITE);
        long[] lengths = Layout.lengths(dim, scanned, cells == null ? 0 : tuning.cells(), photos);
        long offset = Segment.ALIGNMENT;
        for (int part = 0; part < parts.length; part++) {
            parts[part] = new Part(offset);
            offset = Segment.aligned(offset + lengths[part]);
        }
        columns = new Part[cells == null ? scanned / 64 : 0];
        for (int word = 0; word < columns.length; word++) {
            columns[word] = new Part(parts[Segment.COLUMNS].offset + 8L * photos * word);
        }
        for (float value : axis) {
            parts[Segment.AXIS].room(4).putFloat(value);
        }
        parts[Segment.BIT_WEIGHTS].write(tuning.bitWeights());
        sorted = cells == null ? null : new Sorted(cells, tuning);
    }

    /** {@code records}: whole ones, of which the row's starts {@code at} some byte. */
    void add(byte[] path, byte[] records, int at, int time, int stamp, int contentStamp) throws IOException {
        if (PathBytes.compare(lastPath, path) >= 0) {
            throw new IllegalArgumentException(
                PathBytes.toString(path) + " does not come after " + PathBytes.toString(lastPath));
        }
        if (sorted == null) {
            addInOrder(records, at);
        } else {
            sorted.add(records, at);
        }
        parts[Segment.TIMES].room(4).putInt(time);
        parts[Segment.STAMPS].room(8).putInt(stamp).putInt(contentStamp);
        int shared = 0;
        if (rows % PathTable.BLOCK == 0) {
            parts[Segment.PATH_BLOCKS].room(8).putLong(parts[Segment.PATHS].written());
        } else {
            shared = Math.min(PathBytes.shared(lastPath, path), PathTable.MOST_SHARED);
        }
        parts[Segment.PATHS].room(PathTable.ENTRY).put((byte) shared).putShort((short) (path.length - shared));
        parts[Segment.PATHS].write(path, shared, path.length - shared);
        lastPath = path;
        rows++;
    }

    private void addInOrder(byte[] records, int at) throws IOException {
        for (int word = 0; word < columns.length; word++) {
            columns[word].write(records, at + dim + 8 * word, 8);
        }
        parts[Segment.RECORDS].write(records, at, dim);
        parts[Segment.RECORDS].write(records, at + dim + scanned / 8, Records.size(dim) - dim - scanned / 8);
    }

    /** Write the header and flush everything to disk; return the header's CRC-32. */
    long finish(long axisPhotos) throws IOException {
        if (rows != photos) {
            throw new IllegalStateException(rows + " rows were written, not " + photos);
        }
        ByteBuffer header = ByteBuffer.allocate(Segment.ALIGNMENT).order(ByteOrder.LITTLE_ENDIAN);
        header.put(Layout.MAGIC.getBytes(StandardCharsets.ISO_8859_1)).putInt(dim).putInt(parts.length).putLong(photos)
            .putLong(axisPhotos).putInt(scanned).putInt(sorted == null ? 0 : sorted.cells);
        if (sorted != null) {
            sorted.finish();
        } else {
            for (Part column : columns) {
                column.flush();
            }
            parts[Segment.COLUMNS].readBack(photos * scanned / 8);
        }
        for (Part part : parts) {
            part.flush();
            header.putLong(part.offset).putLong(part.length).putInt((int) part.crc.getValue()).putInt(0);
        }
        CRC32 crc = new CRC32();
        crc.update(header.array(), 0, Segment.CRC_AT);
        header.putInt(Segment.CRC_AT, (int) crc.getValue());
        header.clear();
        writeFully(header, 0);
        channel.force(true);
        return crc.getValue();
    }

    private void writeFully(ByteBuffer buffer, long offset) throws IOException {
        long at = offset;
        while (buffer.hasRemaining()) {
            at += channel.write(buffer, at);
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }

    /** Places photos by cell: those of one cell are adjacent, in the order in which they are added. */
    private final class Sorted {
        final int cells;
        private final char[] ofRows;
        private final int[] next;
        private final int[] rowsAt;
        private final long[][] words = new long[scanned / 64][(int) photos];
        private final ByteBuffer record =
            ByteBuffer.allocateDirect(Segment.recordBytes(dim, scanned)).order(ByteOrder.LITTLE_ENDIAN);

        Sorted(char[] ofRows, Tuning tuning) throws IOException {
            this.ofRows = ofRows;
            cells = tuning.cells();
            rowsAt = new int[(int) photos];
            next = new int[cells];
            for (char cell : ofRows) {
                next[cell]++;
            }
            int start = 0;
            for (int cell = 0; cell < next.length; cell++) {
                parts[Segment.STARTS].room(4).putInt(start);
                start += next[cell];
                next[cell] = start - next[cell];
            }
            parts[Segment.STARTS].room(4).putInt(start);
            parts[Segment.CENTROIDS].write(tuning.centroids());
        }

        void add(byte[] records, int at) throws IOException {
            int place = next[ofRows[rows]]++;
            rowsAt[place] = rows;
            for (int word = 0; word < words.length; word++) {
                long bits = 0;
                for (int i = 7; i >= 0; i--) {
                    bits = bits << 8 | records[at + dim + 8 * word + i] & 0xff;
                }
                words[word][place] = bits;
            }
            record.clear();
            record.put(records, at, dim).put(records, at + dim + scanned / 8, record.remaining());
            record.flip();
            writeFully(record, parts[Segment.RECORDS].offset + (long) place * record.capacity());
        }

        void finish() throws IOException {
            for (int row : rowsAt) {
                parts[Segment.ROWS].room(4).putInt(row);
            }
            for (long[] column : words) {
                for (long bits : column) {
                    parts[Segment.COLUMNS].room(8).putLong(bits);
                }
            }
            parts[Segment.RECORDS].readBack(photos * record.capacity());
        }
    }

    /** A part of the file, with a buffer of bytes not yet written. */
    private final class Part {
        final long offset;
        final CRC32 crc = new CRC32();
        long length;
        private final ByteBuffer buffer = ByteBuffer.allocate(BUFFER).order(ByteOrder.LITTLE_ENDIAN);

        Part(long offset) {
            this.offset = offset;
        }

        long written() {
            return length + buffer.position();
        }

        ByteBuffer room(int bytes) throws IOException {
            if (buffer.remaining() < bytes) {
                flush();
            }
            return buffer;
        }

        void write(byte[] data, int from, int count) throws IOException {
            for (int at = from; at < from + count; ) {
                int length = Math.min(from + count - at, room(1).remaining());
                buffer.put(data, at, length);
                at += length;
            }
        }

        void write(ByteBuffer data) throws IOException {
            byte[] copy = new byte[data.limit()];
            data.get(copy);
            write(copy, 0, copy.length);
        }

        /** Add bytes written directly to the file to length and checksum, in file order. */
        void readBack(long bytes) throws IOException {
            while (length < bytes) {
                buffer.clear().limit((int) Math.min(BUFFER, bytes - length));
                while (buffer.hasRemaining()) {
                    channel.read(buffer, offset + length + buffer.position());
                }
                crc.update(buffer.array(), 0, buffer.limit());
                length += buffer.limit();
            }
            buffer.clear();
        }

        void flush() throws IOException {
            buffer.flip();
            crc.update(buffer.array(), 0, buffer.limit());
            int count = buffer.limit();
            writeFully(buffer, offset + length);
            length += count;
            buffer.clear();
        }
    }
}
