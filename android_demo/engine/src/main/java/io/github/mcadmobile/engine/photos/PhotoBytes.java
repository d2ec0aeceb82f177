package io.github.mcadmobile.engine.photos;

import io.github.mcadmobile.engine.McadException;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;

/** A photo's file in memory, read once for its checksum, orientation, size and pixels. */
public final class PhotoBytes implements PhotoDecoder.Source {
    /** Larger files are not kept: only a part of them is read twice, and a phone's heap is small. */
    private static final int MOST = 1 << 25;
    private static final int LEAST = 1 << 16;

    private final byte[] data;
    private final int length;

    private PhotoBytes(byte[] data, int length) {
        this.data = data;
        this.length = length;
    }

    /** Read {@code source}, of about {@code bytes}; returns {@code source} itself if it is too large to keep. */
    public static PhotoDecoder.Source of(PhotoDecoder.Source source, long bytes) throws IOException {
        if (bytes > MOST) {
            return source;
        }
        try {
            PhotoBytes read = read(source, (int) Math.max(LEAST, bytes + 1), MOST);
            return read == null ? source : read; // the listed size was wrong
        } catch (OutOfMemoryError tooLarge) {
            return source;
        }
    }

    /** Null if the file has more than {@code most} bytes. */
    private static PhotoBytes read(PhotoDecoder.Source source, int room, int most) throws IOException {
        byte[] data = new byte[room];
        int length = 0;
        try (InputStream in = source.open()) {
            for (int count = in.read(data); count >= 0; count = in.read(data, length, data.length - length)) {
                length += count;
                if (length == data.length) {
                    if (length > most) {
                        return null;
                    }
                    data = Arrays.copyOf(data, 2 * length);
                }
            }
        }
        return new PhotoBytes(data, length);
    }

    /** All bytes of a source, however large, for a decoder that needs the whole file. */
    public static ByteBuffer whole(PhotoDecoder.Source source) throws IOException {
        PhotoBytes read = source instanceof PhotoBytes held ? held : read(source, LEAST, Integer.MAX_VALUE / 2);
        if (read == null) {
            throw new McadException("The photo's file has more than " + Integer.MAX_VALUE / 2 + " bytes.",
                "Save a smaller copy of it.");
        }
        return ByteBuffer.wrap(read.data, 0, read.length).slice();
    }

    @Override
    public InputStream open() {
        return new ByteArrayInputStream(data, 0, length);
    }
}
