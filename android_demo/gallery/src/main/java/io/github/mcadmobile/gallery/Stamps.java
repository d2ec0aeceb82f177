package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.zip.CRC32;

/**
 * A photo's two stamps in the index (docs/index-format.md): the CRC-32 of its size and modification time, and the
 * CRC-32 of its bytes, or of a video's first and last MiB. Both include the decoder's revision if it has one, because a photo that decodes differently
 * counts as changed.
 */
final class Stamps {
    private static final int CHUNK = 1 << 16;
    private static final int END = 1 << 20;

    private Stamps() {}

    static int ofState(PhotoLibrary.Item item, int revision) {
        ByteBuffer state = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
        state.putLong(item.bytes()).putLong(item.modifiedMs());
        CRC32 crc = new CRC32();
        crc.update(state.array(), 0, 16);
        return finished(crc, revision);
    }

    static int ofContent(PhotoDecoder.Source source, int revision) throws IOException {
        CRC32 crc = new CRC32();
        byte[] chunk = new byte[CHUNK];
        try (InputStream in = source.open()) {
            for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
                crc.update(chunk, 0, count);
            }
        }
        return finished(crc, revision);
    }

    static int ofEnds(PhotoDecoder.Source source, long bytes) throws IOException {
        CRC32 crc = new CRC32();
        try (InputStream in = source.open()) {
            update(crc, in);
            for (long left = bytes - 2 * END; left > 0; ) {
                long skipped = in.skip(left);
                if (skipped <= 0) {
                    throw new EOFException("It has fewer than " + bytes + " bytes.");
                }
                left -= skipped;
            }
            update(crc, in);
        }
        return (int) crc.getValue();
    }

    /** Read at most {@link #END} bytes. */
    private static void update(CRC32 crc, InputStream in) throws IOException {
        byte[] chunk = new byte[CHUNK];
        int count = 0;
        for (int left = END; left > 0 && count >= 0; left -= count) {
            count = in.read(chunk, 0, Math.min(left, CHUNK));
            crc.update(chunk, 0, Math.max(count, 0));
        }
    }

    private static int finished(CRC32 crc, int revision) {
        if (revision != 0) {
            crc.update(revision);
        }
        return (int) crc.getValue();
    }
}
