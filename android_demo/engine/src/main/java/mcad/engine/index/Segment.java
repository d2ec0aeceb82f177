package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;
import java.util.zip.CRC32;

/**
 * One open segment of N photos (docs/index-format.md). A row is a photo's number by ascending path; a place its number in
 * columns and records, another one where the segment has cells. Columns, which a scan reads, are mapped; records and paths
 * are read by position, because a map of what is read here and there would in the end count the whole file as memory of
 * this process.
 */
class Segment implements Closeable {
    static final int ALIGNMENT = 4096;
    private static final int MAGIC = 8;
    static final int AXIS = 0;
    static final int LENS = 1;
    static final int COLUMNS = 2;
    static final int RECORDS = 3;
    static final int TAKEN = 4;
    static final int STAMPS = 5;
    static final int PATH_BLOCKS = 6;
    static final int PATHS = 7;
    static final int CENTROIDS = 8;
    static final int STARTS = 9;
    static final int ROWS = 10;
    static final int PART_TABLE = 32;
    static final int PART_SIZE = 24;
    /** Of a photo that nobody has told the time of. */
    static final int NO_TIME = Integer.MIN_VALUE;
    static final int CRC_AT = ALIGNMENT - 4;
    static final int LARGEST_DIM = 4096;
    private static final int CHUNK = 1 << 18;
    private static final int WINDOW = 64;

    final SegmentFile file;
    final int dim;
    final int photos;
    final long axisPhotos;
    final long headerCrc;
    final float[] axis;
    /** Bits of a code that a scan reads, a multiple of 64; 0 where all photos are scored. */
    final int scanned;
    /** What those bits say of a photo, [scanned][dim] one after the other. */
    final float[] lens;
    /** [scanned / 64][photos] one after the other. */
    final LongBuffer columns;
    /** Null where places are rows. */
    final Cells cells;
    final Places places;
    final IntBuffer taken;
    final IntBuffer stamps;
    /** Bytes of a record. */
    final int record;
    final PathTable paths;
    private final Layout layout;
    private final long[] offsets;
    private final long[] lengths;
    private final long[] crcs;
    private final ByteBuffer row;
    private final byte[] window;
    private int windowStart = -1;
    private int windowRows;

    /** NoSuchFileException when there is no such file; McadException when it is not a segment that is whole. */
    static Segment open(Path path) throws IOException {
        SegmentFile file = new SegmentFile(path);
        try {
            boolean inCells = file.size >= MAGIC && magic(file.read(0, MAGIC)).equals(Layout.CELLS.magic);
            return new Segment(file, inCells ? Layout.CELLS : Layout.NOW);
        } catch (IOException | RuntimeException error) {
            file.close();
            throw error;
        }
    }

    Segment(SegmentFile file, Layout layout) throws IOException {
        this.file = file;
        this.layout = layout;
        String[] parts = layout.parts;
        offsets = new long[parts.length];
        lengths = new long[parts.length];
        crcs = new long[parts.length];
        ByteBuffer header = checkedHeader();
        dim = header.getInt(8);
        photos = (int) header.getLong(16);
        axisPhotos = header.getLong(24);
        headerCrc = header.getInt(CRC_AT) & 0xffffffffL;
        scanned = header.getInt(layout.behindTable()); // zero in the format before
        int cellCount = cellCount(header);
        record = recordBytes(dim, scanned);
        long[] expected = layout.lengths(dim, scanned, photos, cellCount);
        long end = ALIGNMENT;
        int at = PART_TABLE;
        for (int part : layout.order) {
            offsets[part] = header.getLong(at);
            lengths[part] = header.getLong(at + 8);
            crcs[part] = header.getInt(at + 16) & 0xffffffffL;
            if (part != PATHS && lengths[part] != expected[part]) {
                throw file.damaged(
                    "its " + parts[part] + " are " + lengths[part] + " bytes, not " + expected[part]);
            }
            if (offsets[part] != aligned(end) || lengths[part] < 0 || lengths[part] > file.size - offsets[part]) {
                throw file.damaged("its " + parts[part] + " are not where they should be in " + file.size + " bytes");
            }
            end = offsets[part] + lengths[part];
            at += PART_SIZE;
        }
        if (end != file.size) {
            throw file.damaged("it has " + file.size + " bytes, not " + end);
        }
        axis = new float[dim];
        file.read(offsets[AXIS], 4 * dim).asFloatBuffer().get(axis);
        lens = new float[scanned * dim];
        file.read(offsets[LENS], 4 * lens.length).asFloatBuffer().get(lens);
        cells = cellCount == 0 ? null : readCells(cellCount);
        places = cellCount == 0 ? Places.ofRows(file, photos)
            : Places.ofCells(file, offsets[STARTS], cellCount, offsets[ROWS], photos);
        columns = scanned == 0 ? LongBuffer.allocate(0) : map(COLUMNS).asLongBuffer();
        taken = layout == Layout.PREVIOUS ? noTimes(photos) : map(TAKEN).asIntBuffer();
        stamps = map(STAMPS).asIntBuffer();
        paths = new PathTable(file, photos, map(PATH_BLOCKS).asLongBuffer(), offsets[PATHS], lengths[PATHS]);
        row = ByteBuffer.allocateDirect(record).order(ByteOrder.LITTLE_ENDIAN);
        window = new byte[WINDOW * record];
    }

    /** The first multiple of 4096 from {@code offset} on. */
    static long aligned(long offset) {
        return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    private ByteBuffer map(int part) throws IOException {
        return file.map(offsets[part], lengths[part]);
    }

    private static IntBuffer noTimes(int photos) {
        int[] times = new int[photos];
        Arrays.fill(times, NO_TIME);
        return IntBuffer.wrap(times);
    }

    private ByteBuffer checkedHeader() throws IOException {
        ByteBuffer header = file.read(0, (int) Math.min(file.size, ALIGNMENT));
        if (header.limit() < ALIGNMENT) {
            throw file.damaged("it ends at byte " + header.limit() + ", inside its header");
        }
        if (!magic(header).equals(layout.magic)) {
            throw file.damaged("it does not start with " + layout.magic);
        }
        CRC32 crc = new CRC32();
        crc.update(header.array(), 0, CRC_AT);
        if ((int) crc.getValue() != header.getInt(CRC_AT)) {
            throw file.damaged("its header has another CRC-32 than it says");
        }
        int dim = header.getInt(8);
        long photos = header.getLong(16);
        int scanned = header.getInt(layout.behindTable());
        int cellCount = cellCount(header);
        // A part that is mapped must fit into a buffer: records are not mapped.
        long most = Integer.MAX_VALUE / Math.max(dim / 8, 8);
        if (dim % 8 != 0 || dim < 8 || dim > LARGEST_DIM || header.getInt(12) != layout.parts.length || photos < 1
                || photos > most || scanned % 64 != 0 || scanned < 0 || scanned > dim || scanned > 0 && layout == Layout.PREVIOUS
                || layout == Layout.CELLS && (cellCount < 1 || cellCount > Cells.MOST)) {
            throw file.damaged("its header says " + dim + " dimensions, " + header.getInt(12) + " parts, " + photos
                + " photos, " + scanned + " bits to scan, " + cellCount + " cells");
        }
        return header;
    }

    private int cellCount(ByteBuffer header) {
        return layout == Layout.CELLS ? header.getInt(layout.behindTable() + 4) : 0;
    }

    private static String magic(ByteBuffer start) {
        return new String(start.array(), 0, MAGIC, StandardCharsets.ISO_8859_1);
    }

    private Cells readCells(int count) throws IOException {
        short[] centroids = new short[count * dim];
        file.read(offsets[CENTROIDS], 2 * centroids.length).asShortBuffer().get(centroids);
        return new Cells(centroids, dim);
    }

    /** Magnitudes, the bits of the code that no column holds, along and scale. */
    static int recordBytes(int dim, int scanned) {
        return dim + (dim - scanned) / 8 + 4;
    }

    long usedBytes() {
        long sum = 0;
        for (long length : lengths) {
            sum += length;
        }
        return sum;
    }

    /** The record at one place, into {@code out}. */
    void record(int index, byte[] out) throws IOException {
        row.clear();
        file.readInto(row, offsets[RECORDS] + (long) index * record);
        row.get(out);
    }

    /** The same for places that are asked for in ascending order: many are read at once. */
    void recordInOrder(int index, byte[] out) throws IOException {
        if (index < windowStart || index >= windowStart + windowRows || windowStart < 0) {
            windowStart = index;
            windowRows = Math.min(WINDOW, photos - index);
            records(index, windowRows, window);
        }
        System.arraycopy(window, (index - windowStart) * record, out, 0, record);
    }

    /** The records of some places from one on, one after the other. */
    void records(int index, int count, byte[] out) throws IOException {
        some(RECORDS, record, index, count).get(out, 0, count * record);
    }

    /** What a part of {@code width} bytes a photo has of some photos from one on. */
    ByteBuffer some(int part, int width, int index, int count) throws IOException {
        return file.read(offsets[part] + (long) index * width, count * width);
    }

    /** Read the whole file: header and parts against their checksums, zeros between them, the order of the paths. */
    void verify() throws IOException {
        checkedHeader();
        long end = ALIGNMENT;
        for (int part : layout.order) {
            for (byte gap : file.read(end, (int) (offsets[part] - end)).array()) {
                if (gap != 0) {
                    throw file.damaged("there is something before its " + layout.parts[part]);
                }
            }
            end = offsets[part] + lengths[part];
            CRC32 crc = new CRC32();
            for (long start = 0; start < lengths[part]; start += CHUNK) {
                int length = (int) Math.min(CHUNK, lengths[part] - start);
                crc.update(file.read(offsets[part] + start, length).array(), 0, length);
            }
            if (crc.getValue() != crcs[part]) {
                throw file.damaged(String.format(
                    Locale.ROOT, "its %s have CRC-32 %08x, not %08x", layout.parts[part], crc.getValue(), crcs[part]));
            }
        }
        byte[] before = new byte[0];
        for (int i = 0; i < photos; i++) {
            byte[] path = paths.at(i);
            if (PathBytes.compare(before, path) >= 0) {
                throw file.damaged("its path of row " + i + " is out of order");
            }
            before = path;
        }
        places.verify();
    }

    @Override
    public void close() throws IOException {
        file.close();
    }
}
