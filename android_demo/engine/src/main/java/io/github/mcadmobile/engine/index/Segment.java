package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;
import java.util.zip.CRC32;

/**
 * An open segment of N photos (docs/index-format.md). A row is a photo's number by ascending path; a place is its
 * number in columns and records, which differs if the segment has cells. Columns, which a scan reads, are mapped.
 * Records and paths are read by position: mapping such scattered reads would eventually count the whole file as this
 * process's memory.
 */
final class Segment implements Closeable {
    static final int ALIGNMENT = 4096;
    static final int AXIS = 0;
    static final int BIT_WEIGHTS = 1;
    static final int CENTROIDS = 2;
    static final int STARTS = 3;
    static final int ROWS = 4;
    static final int COLUMNS = 5;
    static final int RECORDS = 6;
    static final int TIMES = 7;
    static final int STAMPS = 8;
    static final int PATH_BLOCKS = 9;
    static final int PATHS = 10;
    private static final int SCANNED_AT = 32;
    private static final int CELLS_AT = 36;
    private static final int PART_TABLE = 40;
    private static final int PART_SIZE = 24;
    /** The time of a photo whose time is unknown. */
    static final int NO_TIME = Integer.MIN_VALUE;
    static final int CRC_AT = ALIGNMENT - 4;
    static final int LARGEST_DIM = 4096;
    private static final int MOST_CELLS = 65_535;
    private static final float MOST_BIT_WEIGHT = 100;
    private static final String NEWER_MAGIC = "MCADSEG[2-9]";
    private static final int CHUNK = 1 << 18;
    private static final int WINDOW = 64;

    final SegmentFile file;
    final int dim;
    final int photos;
    final long axisPhotos;
    final long headerCrc;
    final float[] axis;
    /** Bits of a code that a scan reads, a multiple of 64; 0 if all photos are scored. */
    final int scanned;
    /** [scanned][dim] floats, row-major. */
    final ByteBuffer bitWeights;
    /** [cells][dim] shorts. */
    final ByteBuffer centroids;
    /** [scanned / 64][photos], row-major. */
    final LongBuffer columns;
    /** The columns, for {@link Kernel}. */
    final ByteBuffer columnBytes;
    final PlaceTable places;
    final IntBuffer times;
    final IntBuffer stamps;
    /** Bytes of a record. */
    final int record;
    final PathTable paths;
    private final long[] offsets = new long[Layout.PARTS.length];
    private final long[] lengths = new long[Layout.PARTS.length];
    private final long[] crcs = new long[Layout.PARTS.length];
    private final ByteBuffer row;
    private final byte[] window;
    private final byte[] stored;
    private int windowStart = -1;
    private int windowRows;

    /** NoSuchFileException if the file is missing; McadException if it is no complete segment. */
    static Segment open(Path path) throws IOException {
        SegmentFile file = new SegmentFile(path);
        try {
            return new Segment(file);
        } catch (IOException | RuntimeException error) {
            file.close();
            throw error;
        }
    }

    private Segment(SegmentFile file) throws IOException {
        this.file = file;
        ByteBuffer header = checkedHeader();
        file.openForKernel(header.getInt(CRC_AT));
        dim = header.getInt(8);
        photos = (int) header.getLong(16);
        axisPhotos = header.getLong(24);
        headerCrc = header.getInt(CRC_AT) & 0xffffffffL;
        scanned = header.getInt(SCANNED_AT);
        int cellCount = header.getInt(CELLS_AT);
        record = recordBytes(dim, scanned);
        String[] parts = Layout.PARTS;
        long[] expected = Layout.lengths(dim, scanned, cellCount, photos);
        long end = ALIGNMENT;
        for (int part = 0; part < parts.length; part++) {
            int at = PART_TABLE + PART_SIZE * part;
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
        }
        if (end != file.size) {
            throw file.damaged("it has " + file.size + " bytes, not " + end);
        }
        axis = new float[dim];
        file.read(offsets[AXIS], 4 * dim).asFloatBuffer().get(axis);
        bitWeights = map(BIT_WEIGHTS);
        checkNumbers();
        centroids = map(CENTROIDS);
        places = cellCount == 0 ? PlaceTable.ofRows(file, photos)
            : PlaceTable.ofCells(file, offsets[STARTS], cellCount, offsets[ROWS], photos);
        columnBytes = map(COLUMNS);
        columns = columnBytes.asLongBuffer();
        times = map(TIMES).asIntBuffer();
        stamps = map(STAMPS).asIntBuffer();
        paths = new PathTable(file, photos, map(PATH_BLOCKS).asLongBuffer(), offsets[PATHS], lengths[PATHS]);
        row = ByteBuffer.allocateDirect(record).order(ByteOrder.LITTLE_ENDIAN);
        window = new byte[WINDOW * record];
        stored = new byte[record];
    }

    /** McadException for numbers that no writer makes: an axis not of length 1, bit weights of another size. */
    private void checkNumbers() throws McadException {
        double squares = 0;
        for (float number : axis) {
            squares += (double) number * number;
        }
        if (squares != 0 && !(Math.abs(squares - 1) <= 0.02)) {
            throw file.damaged("its axis has length " + Math.sqrt(squares) + ", not 1");
        }
        FloatBuffer weights = bitWeights.order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        while (weights.hasRemaining()) {
            float weight = weights.get();
            if (!(Math.abs(weight) <= MOST_BIT_WEIGHT)) {
                throw file.damaged("it has a bit weight of " + weight);
            }
        }
    }

    /** {@code offset}, rounded up to a multiple of 4096. */
    static long aligned(long offset) {
        return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    private ByteBuffer map(int part) throws IOException {
        return file.map(offsets[part], lengths[part]);
    }

    private ByteBuffer checkedHeader() throws IOException {
        ByteBuffer header = file.read(0, (int) Math.min(file.size, ALIGNMENT));
        String magic = new String(
            header.array(), 0, Math.min(header.limit(), Layout.MAGIC.length()), StandardCharsets.ISO_8859_1);
        if (magic.matches(NEWER_MAGIC)) {
            throw new McadException(McadException.Kind.INDEX, "The index file " + file.path + " starts with '" + magic
                + "', of a newer version; this version reads '" + Layout.MAGIC + "'.", Manifest.UPDATE, null);
        }
        if (!magic.equals(Layout.MAGIC)) {
            throw file.damaged("it starts with '" + magic + "', not with '" + Layout.MAGIC + "'");
        }
        if (header.limit() < ALIGNMENT) {
            throw file.damaged("it ends at byte " + header.limit() + ", inside its header");
        }
        CRC32 crc = new CRC32();
        crc.update(header.array(), 0, CRC_AT);
        if ((int) crc.getValue() != header.getInt(CRC_AT)) {
            throw file.damaged("its header has another CRC-32 than it says");
        }
        int dim = header.getInt(8);
        long photos = header.getLong(16);
        int scanned = header.getInt(SCANNED_AT);
        int cellCount = header.getInt(CELLS_AT);
        // Mapped parts must fit into a buffer; records are not mapped.
        long most = Integer.MAX_VALUE / Math.max(dim / 8, 8);
        if (dim % 8 != 0 || dim < 8 || dim > LARGEST_DIM || header.getInt(12) != Layout.PARTS.length || photos < 1
                || photos > most || scanned % 64 != 0 || scanned < 0 || scanned > dim || cellCount < 0
                || cellCount > MOST_CELLS) {
            throw file.damaged("its header says " + dim + " dimensions, " + header.getInt(12) + " parts, " + photos
                + " photos, " + scanned + " bits to scan, " + cellCount + " cells");
        }
        return header;
    }

    /** Magnitudes, the code's bits that are not in columns, projection and scale. */
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

    long recordsAt() {
        return offsets[RECORDS];
    }

    /** The stored record at a place, valid until the next call; {@code dense}: reads many at once. */
    byte[] record(int place, boolean dense) throws IOException {
        if (!dense) {
            row.clear();
            file.readInto(row, offsets[RECORDS] + (long) place * record);
            row.get(stored);
            return stored;
        }
        if (place < windowStart || place >= windowStart + windowRows || windowStart < 0) {
            windowStart = place;
            windowRows = Math.min(WINDOW, photos - place);
            int bytes = windowRows * record;
            file.read(offsets[RECORDS] + (long) place * record, bytes).get(window, 0, bytes);
        }
        System.arraycopy(window, (place - windowStart) * record, stored, 0, record);
        return stored;
    }

    /** The paths of the photos at a few places. Reads that miss the cache are issued together, not one by one. */
    String[] pathsAt(int[] chosen) throws IOException {
        long[] spans = new long[2 * chosen.length];
        if (!places.areRows()) {
            for (int i = 0; i < chosen.length; i++) {
                spans[2 * i] = offsets[ROWS] + 4L * chosen[i];
                spans[2 * i + 1] = spans[2 * i] + 4;
            }
            Kernel.fetch(file.descriptor(), spans);
        }
        int[] rows = new int[chosen.length];
        for (int i = 0; i < rows.length; i++) {
            rows[i] = places.rowAt(chosen[i]);
            spans[2 * i] = offsets[PATH_BLOCKS] + 8L * (rows[i] / PathTable.BLOCK);
            spans[2 * i + 1] = spans[2 * i] + 16;
        }
        Kernel.fetch(file.descriptor(), spans);
        for (int i = 0; i < rows.length; i++) {
            paths.span(rows[i] / PathTable.BLOCK, spans, 2 * i);
        }
        Kernel.fetch(file.descriptor(), spans);
        String[] found = new String[rows.length];
        for (int i = 0; i < rows.length; i++) {
            found[i] = PathBytes.toString(paths.at(rows[i]));
        }
        return found;
    }

    /** Check the whole file: checksums of header and parts, zero padding, and the order of paths and places. */
    void verify() throws IOException {
        checkedHeader();
        long end = ALIGNMENT;
        for (int part = 0; part < Layout.PARTS.length; part++) {
            for (byte gap : file.read(end, (int) (offsets[part] - end)).array()) {
                if (gap != 0) {
                    throw file.damaged("there is something before its " + Layout.PARTS[part]);
                }
            }
            end = offsets[part] + lengths[part];
            CRC32 crc = new CRC32();
            for (long start = 0; start < lengths[part]; start += CHUNK) {
                int length = (int) Math.min(CHUNK, lengths[part] - start);
                crc.update(file.read(offsets[part] + start, length).array(), 0, length);
            }
            if (crc.getValue() != crcs[part]) {
                throw file.damaged(String.format(Locale.ROOT, "the CRC-32 of its %s is %08x, not %08x",
                    Layout.PARTS[part], crc.getValue(), crcs[part]));
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
