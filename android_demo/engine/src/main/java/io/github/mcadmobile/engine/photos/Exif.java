package io.github.mcadmobile.engine.photos;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * The EXIF orientation and coordinates of a JPEG, PNG or WebP file, and the coordinates of a HEIC or AVIF file (Exif
 * 2.32, sections 4.6.4 and 4.6.6).
 */
public final class Exif {
    private static final int ORIENTATION = 0x0112;
    private static final int GPS = 0x8825;
    private static final int SOUTH = 1;
    private static final int LATITUDE = 2;
    private static final int WEST = 3;
    private static final int LONGITUDE = 4;
    private static final int MAX_BLOCK = 1 << 20;
    private static final int JPEG = 0xFFD8;
    private static final int PNG = 0x89504E47;
    private static final int RIFF = 0x52494646;
    private static final int WEBP = 0x57454250;
    private static final int FTYP = 0x66747970;
    private static final int META = 0x6D657461;
    private static final int IINF = 0x69696E66;
    private static final int INFE = 0x696E6665;
    private static final int ILOC = 0x696C6F63;
    private static final int IDAT = 0x69646174;
    private static final int EXIF = 0x45786966;
    private static final int BOX_HEAD = 8;

    private static final int RATIONAL = 5;
    private static final byte[] NONE = new byte[8];

    private Exif() {}

    /** Whether this class reads the orientation of such a file; for other formats the decoder must. */
    public static boolean isRead(InputStream stream) throws IOException {
        DataInputStream in = new DataInputStream(stream);
        try {
            int first = in.readInt();
            if (first == RIFF) {
                in.readInt();
                return in.readInt() == WEBP;
            }
            return first >>> 16 == JPEG || first == PNG;
        } catch (EOFException ends) {
            return false;
        }
    }

    /** The orientation, 1 to 8; 1 if it is missing or damaged, or if {@link #isRead} is false. */
    public static int orientation(InputStream stream) throws IOException {
        byte[] tiff = tiff(stream, false);
        int entry = entry(tiff, u32(tiff, 4), ORIENTATION);
        int value = entry < 0 ? 1 : u16(tiff, entry + 8);
        return value >= 1 && value <= 8 ? value : 1;
    }

    /**
     * Degrees north and east; null if the file states none, or none on earth. 0, 0 is what receivers write that know
     * nothing. As mcad_mobile/engine/photos/coordinates.py.
     */
    public static double @Nullable [] coordinates(InputStream stream) throws IOException {
        byte[] tiff = tiff(stream, true);
        int pointer = entry(tiff, u32(tiff, 4), GPS);
        if (pointer < 0) {
            return null;
        }
        double north = degrees(tiff, u32(tiff, pointer + 8), LATITUDE, SOUTH, 'S');
        double east = degrees(tiff, u32(tiff, pointer + 8), LONGITUDE, WEST, 'W');
        boolean known = Math.abs(north) <= 90 && Math.abs(east) <= 180 && (north != 0 || east != 0); // NaN is not less
        return known ? new double[] {north, east} : null;
    }

    /** Three fractions: degrees, minutes, seconds. NaN if they are missing. */
    private static double degrees(byte[] tiff, long directory, int tag, int signTag, char negative) {
        int entry = entry(tiff, directory, tag);
        int sign = entry(tiff, directory, signTag);
        long at = entry < 0 || u16(tiff, entry + 2) != RATIONAL || u32(tiff, entry + 4) != 3 ? -1 : u32(tiff, entry + 8);
        if (at < 0 || at + 24 > tiff.length) {
            return Double.NaN;
        }
        double total = 0;
        for (int i = 2; i >= 0; i--) {
            double below = u32(tiff, (int) at + 8 * i + 4);
            total = total / 60 + (below == 0 ? Double.NaN : u32(tiff, (int) at + 8 * i) / below);
        }
        return sign >= 0 && tiff[sign + 8] == negative ? -total : total;
    }

    /** The file's TIFF block; an empty one if it has none. Reads no further than needed. */
    private static byte[] tiff(InputStream stream, boolean ofItems) throws IOException {
        byte[] found = block(new DataInputStream(stream), ofItems);
        return found.length < 8 ? NONE : found;
    }

    private static byte[] block(DataInputStream in, boolean ofItems) throws IOException {
        try {
            int first = in.readInt();
            if (first >>> 16 == JPEG) {
                return jpeg(in, first & 0xFFFF);
            }
            if (first == PNG) {
                in.readInt();
                return png(in);
            }
            int second = in.readInt();
            if (first == RIFF) {
                return in.readInt() == WEBP ? webp(in) : NONE;
            }
            return second == FTYP && ofItems ? item(in, first) : NONE;
        } catch (EOFException ends) {
            return NONE;
        }
    }

    /** The clockwise rotation of a photo, after mirroring it if {@link #mirrored}. */
    public static int degrees(int orientation) {
        switch (orientation) {
            case 3:
            case 4:
                return 180;
            case 6:
            case 7:
                return 90;
            case 5:
            case 8:
                return 270;
            default:
                return 0;
        }
    }

    /** Whether to mirror a photo horizontally before rotating it. */
    public static boolean mirrored(int orientation) {
        return orientation == 2 || orientation == 4 || orientation == 5 || orientation == 7;
    }

    private static byte[] jpeg(DataInputStream in, int marker) throws IOException {
        int at = marker;
        while (at >>> 8 == 0xFF && at != 0xFFDA && at != 0xFFD9) {
            int length = in.readUnsignedShort() - 2;
            if (length < 0) {
                return NONE;
            }
            if (at == 0xFFE1 && length > 6) {
                byte[] block = read(in, length);
                if (block[0] == 'E' && block[1] == 'x' && block[2] == 'i' && block[3] == 'f') {
                    return Arrays.copyOfRange(block, 6, length);
                }
            } else {
                skip(in, length);
            }
            at = in.readUnsignedShort();
            while (at == 0xFFFF) {
                at = 0xFF00 | in.readUnsignedByte();
            }
        }
        return NONE;
    }

    private static byte[] png(DataInputStream in) throws IOException {
        while (true) {
            long length = number(in, 4);
            int type = in.readInt();
            if (type == 0x65584966) {
                return read(in, length);
            }
            skip(in, length + 4);
        }
    }

    private static byte[] webp(DataInputStream in) throws IOException {
        while (true) {
            int type = in.readInt();
            long length = Integer.reverseBytes(in.readInt()) & 0xFFFFFFFFL;
            if (type == 0x45584946) {
                byte[] block = read(in, length);
                boolean titled = block.length > 6 && block[0] == 'E' && block[1] == 'x';
                return titled ? Arrays.copyOfRange(block, 6, block.length) : block;
            }
            skip(in, length + (length & 1));
        }
    }

    /**
     * The Exif item of a HEIC or AVIF file, of whose first box the head was read (ISO/IEC 14496-12, section 8.11, and
     * 23008-12, A.2.1). As the file is read once, the list of items must come before the item.
     */
    private static byte[] item(DataInputStream in, long firstBox) throws IOException {
        long at = firstBox;
        skip(in, firstBox - BOX_HEAD);
        long length = number(in, 4);
        while (in.readInt() != META) {
            if (length < BOX_HEAD) { // it has 2^32 bytes or more, or goes to the file's end
                return NONE;
            }
            skip(in, length - BOX_HEAD);
            at += length;
            length = number(in, 4);
        }
        at += length;
        byte[] meta = read(in, length - BOX_HEAD);
        long wanted = exifItem(meta);
        DataInputStream locations = box(boxes(meta), ILOC);
        int version = locations.readInt() >>> 24;
        int sizes = locations.readUnsignedShort(); // in bytes, four bits each: of an offset, length, base and index
        int extentSize = (sizes >> 12) + (sizes >> 8 & 15) + (version == 0 ? 0 : sizes & 15);
        for (long left = number(locations, version < 2 ? 2 : 4); left > 0; left--) {
            long item = number(locations, version < 2 ? 2 : 4);
            boolean inFile = version == 0 || (locations.readUnsignedShort() & 15) == 0;
            locations.readUnsignedShort();
            long base = number(locations, sizes >> 4 & 15);
            int extents = locations.readUnsignedShort();
            if (item == wanted && extents == 1) {
                number(locations, version == 0 ? 0 : sizes & 15);
                long start = base + number(locations, sizes >> 12) - (inFile ? at : 0);
                long bytes = number(locations, sizes >> 8 & 15);
                DataInputStream from = inFile ? in : box(boxes(meta), IDAT);
                if (start < 0) {
                    return NONE;
                }
                skip(from, start);
                long title = number(from, 4);
                skip(from, title);
                return read(from, bytes - 4 - title);
            }
            skip(locations, (long) extents * extentSize);
        }
        return NONE;
    }

    private static long exifItem(byte[] meta) throws IOException {
        DataInputStream list = box(boxes(meta), IINF);
        number(list, list.readInt() >>> 24 == 0 ? 2 : 4);
        while (true) {
            DataInputStream entry = box(list, INFE);
            long item = number(entry, entry.readInt() >>> 24 == 2 ? 2 : 4);
            entry.readUnsignedShort();
            if (entry.readInt() == EXIF) {
                return item;
            }
        }
    }

    /** The boxes in a box, behind its version. */
    private static DataInputStream boxes(byte[] meta) throws IOException {
        DataInputStream boxes = new DataInputStream(new ByteArrayInputStream(meta));
        boxes.readInt();
        return boxes;
    }

    /** What the next box of a type holds. EOFException if there is none. */
    private static DataInputStream box(DataInputStream in, int type) throws IOException {
        while (true) {
            long length = number(in, 4) - BOX_HEAD;
            boolean found = in.readInt() == type;
            byte[] content = read(in, length);
            if (found) {
                return new DataInputStream(new ByteArrayInputStream(content));
            }
        }
    }

    private static long number(DataInputStream in, int bytes) throws IOException {
        long value = 0;
        for (int i = 0; i < bytes; i++) {
            value = value << 8 | in.readUnsignedByte();
        }
        return value;
    }

    /** Where the entry of a tag in a directory begins; -1 if it is missing. */
    private static int entry(byte[] tiff, long directory, int tag) {
        for (int i = 0; directory + 2 <= tiff.length && i < u16(tiff, (int) directory); i++) {
            long entry = directory + 2 + 12L * i;
            if (entry + 12 > tiff.length) {
                return -1;
            }
            if (u16(tiff, (int) entry) == tag) {
                return (int) entry;
            }
        }
        return -1;
    }

    private static int u16(byte[] tiff, int at) {
        int a = tiff[at] & 0xff;
        int b = tiff[at + 1] & 0xff;
        return tiff[0] == 'I' ? a | b << 8 : a << 8 | b;
    }

    private static long u32(byte[] tiff, int at) {
        long a = u16(tiff, at);
        long b = u16(tiff, at + 2);
        return tiff[0] == 'I' ? a | b << 16 : a << 16 | b;
    }

    /** EOFException if so many are not there, or are no EXIF. */
    private static byte[] read(DataInputStream in, long length) throws IOException {
        if (length < 0 || length > MAX_BLOCK) {
            throw new EOFException();
        }
        byte[] block = new byte[(int) length];
        in.readFully(block);
        return block;
    }

    private static void skip(DataInputStream in, long length) throws IOException {
        long left = length;
        while (left > 0) {
            int skipped = in.skipBytes((int) Math.min(left, 1 << 20));
            if (skipped == 0) {
                throw new EOFException();
            }
            left -= skipped;
        }
    }
}
