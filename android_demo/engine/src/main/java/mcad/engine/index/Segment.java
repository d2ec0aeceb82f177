package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.IntBuffer;
import java.nio.LongBuffer;
import java.nio.ShortBuffer;
import java.nio.file.Path;
import java.util.Locale;
import java.util.zip.CRC32;

/**
 * One open segment of N photos by ascending path (docs/index-format.md). Codes and what a scan reads with them are
 * mapped; magnitudes and paths are read by position, because a map of what is read here and there would in the end
 * count the whole file as memory of this process.
 */
final class Segment implements Closeable {
    static final byte[] MAGIC = {'M', 'C', 'A', 'D', 'S', 'E', 'G', '2'};
    static final int ALIGNMENT = 4096;
    static final String[] PARTS = {
        "axis", "codes", "along", "scales", "magnitudes", "stamps", "path_blocks", "paths"};
    static final int AXIS = 0;
    static final int CODES = 1;
    static final int ALONG = 2;
    static final int SCALES = 3;
    static final int MAGNITUDES = 4;
    static final int STAMPS = 5;
    static final int PATH_BLOCKS = 6;
    static final int PATHS = 7;
    static final int PART_TABLE = 32;
    static final int PART_SIZE = 24;
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
    final LongBuffer codeWords;
    final ByteBuffer codes;
    final ShortBuffer along;
    final ShortBuffer scales;
    final IntBuffer stamps;
    final PathTable paths;
    private final long[] offsets = new long[PARTS.length];
    private final long[] lengths = new long[PARTS.length];
    private final long[] crcs = new long[PARTS.length];
    private final ByteBuffer codeReader;
    private final ByteBuffer row;
    private final byte[] window;
    private int windowStart = -1;
    private int windowRows;

    /** NoSuchFileException when there is no such file; McadException when it is not a segment that is whole. */
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
        ByteBuffer header = checkedHeader(file);
        dim = header.getInt(8);
        photos = (int) header.getLong(16);
        axisPhotos = header.getLong(24);
        headerCrc = header.getInt(CRC_AT) & 0xffffffffL;
        long[] expected = partLengths(dim, photos);
        long end = ALIGNMENT;
        for (int part = 0; part < PARTS.length; part++) {
            int at = PART_TABLE + part * PART_SIZE;
            offsets[part] = header.getLong(at);
            lengths[part] = header.getLong(at + 8);
            crcs[part] = header.getInt(at + 16) & 0xffffffffL;
            if (part != PATHS && lengths[part] != expected[part]) {
                throw file.damaged(
                    "its " + PARTS[part] + " are " + lengths[part] + " bytes, not " + expected[part]);
            }
            if (offsets[part] != aligned(end) || lengths[part] < 0 || lengths[part] > file.size - offsets[part]) {
                throw file.damaged("its " + PARTS[part] + " are not where they should be in " + file.size + " bytes");
            }
            end = offsets[part] + lengths[part];
        }
        if (end != file.size) {
            throw file.damaged("it has " + file.size + " bytes, not " + end);
        }
        axis = new float[dim];
        file.read(offsets[AXIS], 4 * dim).asFloatBuffer().get(axis);
        codes = map(CODES);
        codeReader = codes.duplicate();
        codeWords = dim % 64 == 0 ? codes.asLongBuffer() : null;
        along = map(ALONG).asShortBuffer();
        scales = map(SCALES).asShortBuffer();
        stamps = map(STAMPS).asIntBuffer();
        paths = new PathTable(file, photos, map(PATH_BLOCKS).asLongBuffer(), offsets[PATHS], lengths[PATHS]);
        row = ByteBuffer.allocateDirect(dim).order(ByteOrder.LITTLE_ENDIAN);
        window = new byte[WINDOW * dim];
    }

    /** The first multiple of 4096 from {@code offset} on. */
    static long aligned(long offset) {
        return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }

    private ByteBuffer map(int part) throws IOException {
        return file.map(offsets[part], lengths[part]);
    }

    private static ByteBuffer checkedHeader(SegmentFile file) throws IOException {
        ByteBuffer header = file.read(0, (int) Math.min(file.size, ALIGNMENT));
        for (int i = 0; i < MAGIC.length; i++) {
            if (i >= header.limit() || header.get(i) != MAGIC[i]) {
                throw file.damaged("it does not start with MCADSEG2");
            }
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
        // A part that is mapped must fit into a buffer: magnitudes are not mapped.
        long most = Integer.MAX_VALUE / Math.max(dim / 8, 8);
        if (dim % 8 != 0 || dim < 8 || dim > LARGEST_DIM || header.getInt(12) != PARTS.length || photos < 1
                || photos > most) {
            throw file.damaged("its header says " + dim + " dimensions, " + header.getInt(12) + " parts, " + photos
                + " photos");
        }
        return header;
    }

    /** Length in bytes of each part; 0 for the paths, which nothing else tells. */
    static long[] partLengths(int dim, long photos) {
        return new long[] {
            4L * dim, photos * dim / 8, 2 * photos, 2 * photos, photos * dim, 8 * photos,
            8 * ((photos + PathTable.BLOCK - 1) / PathTable.BLOCK), 0};
    }

    long usedBytes() {
        long sum = 0;
        for (long length : lengths) {
            sum += length;
        }
        return sum;
    }

    /** The magnitudes of one row, into {@code out} [D]. */
    void magnitudes(int index, byte[] out) throws IOException {
        row.clear();
        file.readInto(row, offsets[MAGNITUDES] + (long) index * dim);
        row.get(out);
    }

    /** The same for rows that are asked for in ascending order: many are read at once. */
    void magnitudesInOrder(int index, byte[] out) throws IOException {
        if (index < windowStart || index >= windowStart + windowRows || windowStart < 0) {
            windowStart = index;
            windowRows = Math.min(WINDOW, photos - index);
            ByteBuffer read = file.read(offsets[MAGNITUDES] + (long) index * dim, windowRows * dim);
            read.get(window, 0, windowRows * dim);
        }
        System.arraycopy(window, (index - windowStart) * dim, out, 0, dim);
    }

    /** The code of one row, into {@code out} [D/8]. */
    void code(int index, byte[] out) {
        codeReader.position(index * out.length);
        codeReader.get(out);
    }

    /** Read the whole file: header and parts against their checksums, zeros between them, the order of the paths. */
    void verify() throws IOException {
        checkedHeader(file);
        long end = ALIGNMENT;
        for (int part = 0; part < PARTS.length; part++) {
            for (byte gap : file.read(end, (int) (offsets[part] - end)).array()) {
                if (gap != 0) {
                    throw file.damaged("there is something before its " + PARTS[part]);
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
                    Locale.ROOT, "its %s have CRC-32 %08x, not %08x", PARTS[part], crc.getValue(), crcs[part]));
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
    }

    @Override
    public void close() throws IOException {
        file.close();
    }
}
