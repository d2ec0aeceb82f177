package io.github.mcadmobile.engine.photos;

import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;

/** The EXIF orientation of a JPEG, PNG or WebP file (Exif 2.32, tag 0x0112). */
public final class Exif {
    private static final int ORIENTATION = 0x0112;
    private static final int MAX_BLOCK = 1 << 20;
    private static final int JPEG = 0xFFD8;
    private static final int PNG = 0x89504E47;
    private static final int RIFF = 0x52494646;
    private static final int WEBP = 0x57454250;

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

    /** The orientation, 1 to 8; 1 if it is missing or damaged. Reads no further than needed. */
    public static int orientation(InputStream stream) throws IOException {
        DataInputStream in = new DataInputStream(stream);
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
                return in.readInt() == WEBP ? webp(in) : 1;
            }
            return 1;
        } catch (EOFException ends) {
            return 1;
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

    private static int jpeg(DataInputStream in, int marker) throws IOException {
        int at = marker;
        while (at >>> 8 == 0xFF && at != 0xFFDA && at != 0xFFD9) {
            int length = in.readUnsignedShort() - 2;
            if (length < 0) {
                return 1;
            }
            if (at == 0xFFE1 && length > 6) {
                byte[] block = read(in, length);
                if (block[0] == 'E' && block[1] == 'x' && block[2] == 'i' && block[3] == 'f') {
                    return tiff(block, 6);
                }
            } else {
                skip(in, length);
            }
            at = in.readUnsignedShort();
            while (at == 0xFFFF) {
                at = 0xFF00 | in.readUnsignedByte();
            }
        }
        return 1;
    }

    private static int png(DataInputStream in) throws IOException {
        while (true) {
            long length = in.readInt() & 0xFFFFFFFFL;
            int type = in.readInt();
            if (type == 0x65584966 && length <= MAX_BLOCK) {
                return tiff(read(in, (int) length), 0);
            }
            skip(in, length + 4);
        }
    }

    private static int webp(DataInputStream in) throws IOException {
        while (true) {
            int type = in.readInt();
            long length = Integer.reverseBytes(in.readInt()) & 0xFFFFFFFFL;
            if (type == 0x45584946 && length <= MAX_BLOCK) {
                byte[] block = read(in, (int) length);
                boolean titled = block.length > 6 && block[0] == 'E' && block[1] == 'x';
                return tiff(block, titled ? 6 : 0);
            }
            skip(in, length + (length & 1));
        }
    }

    private static int tiff(byte[] block, int base) {
        if (block.length < base + 8) {
            return 1;
        }
        boolean little = block[base] == 'I';
        long directory = base + u32(block, base + 4, little);
        if (directory + 2 > block.length) {
            return 1;
        }
        int entries = u16(block, (int) directory, little);
        for (int i = 0; i < entries; i++) {
            long entry = directory + 2 + 12L * i;
            if (entry + 12 > block.length) {
                return 1;
            }
            if (u16(block, (int) entry, little) == ORIENTATION) {
                int value = u16(block, (int) entry + 8, little);
                return value >= 1 && value <= 8 ? value : 1;
            }
        }
        return 1;
    }

    private static int u16(byte[] block, int at, boolean little) {
        int a = block[at] & 0xff;
        int b = block[at + 1] & 0xff;
        return little ? a | b << 8 : a << 8 | b;
    }

    private static long u32(byte[] block, int at, boolean little) {
        long a = u16(block, at, little);
        long b = u16(block, at + 2, little);
        return little ? a | b << 16 : a << 16 | b;
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
