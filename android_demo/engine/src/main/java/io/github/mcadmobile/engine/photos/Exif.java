package io.github.mcadmobile.engine.photos;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** The EXIF orientation and coordinates of a JPEG, PNG or WebP file (Exif 2.32, sections 4.6.4 and 4.6.6). */
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

    /** The orientation, 1 to 8; 1 if it is missing or damaged. */
    public static int orientation(InputStream stream) throws IOException {
        byte[] tiff = tiff(stream);
        int entry = entry(tiff, u32(tiff, 4), ORIENTATION);
        int value = entry < 0 ? 1 : u16(tiff, entry + 8);
        return value >= 1 && value <= 8 ? value : 1;
    }

    /**
     * Degrees north and east; null if the file states none, or none on earth. 0, 0 is what receivers write that know
     * nothing. As mcad_mobile/engine/photos/coordinates.py.
     */
    public static double @Nullable [] coordinates(InputStream stream) throws IOException {
        byte[] tiff = tiff(stream);
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
    private static byte[] tiff(InputStream stream) throws IOException {
        byte[] found = block(new DataInputStream(stream));
        return found.length < 8 ? NONE : found;
    }

    private static byte[] block(DataInputStream in) throws IOException {
        try {
            int first = in.readInt();
            if (first >>> 16 == JPEG) {
                return jpeg(in, first & 0xFFFF);
            }
            if (first == PNG) {
                in.readInt();
                return png(in);
            }
            if (first == RIFF) {
                in.readInt();
                return in.readInt() == WEBP ? webp(in) : NONE;
            }
            return NONE;
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
            long length = in.readInt() & 0xFFFFFFFFL;
            int type = in.readInt();
            if (type == 0x65584966 && length <= MAX_BLOCK) {
                return read(in, (int) length);
            }
            skip(in, length + 4);
        }
    }

    private static byte[] webp(DataInputStream in) throws IOException {
        while (true) {
            int type = in.readInt();
            long length = Integer.reverseBytes(in.readInt()) & 0xFFFFFFFFL;
            if (type == 0x45584946 && length <= MAX_BLOCK) {
                byte[] block = read(in, (int) length);
                boolean titled = block.length > 6 && block[0] == 'E' && block[1] == 'x';
                return titled ? Arrays.copyOfRange(block, 6, block.length) : block;
            }
            skip(in, length + (length & 1));
        }
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

    private static byte[] read(DataInputStream in, int length) throws IOException {
        byte[] block = new byte[length];
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
