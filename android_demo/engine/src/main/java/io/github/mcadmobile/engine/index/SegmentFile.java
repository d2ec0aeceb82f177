package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** A segment's file, read at offsets or mapped; it stays readable after deletion. */
final class SegmentFile implements Closeable {
    static final String REBUILD = Manifest.START_OVER + " If it was copied from a computer, repair it "
        + "there, and copy it again.";

    final Path path;
    final FileChannel channel;
    final long size;
    private int descriptor = -1;

    SegmentFile(Path path) throws IOException {
        this.path = path;
        try {
            channel = FileChannel.open(path, StandardOpenOption.READ, LinkOption.NOFOLLOW_LINKS);
        } catch (IOException error) {
            if (Files.isSymbolicLink(path)) {
                throw damaged("it is a link");
            }
            throw error;
        }
        size = channel.size();
    }

    /** Open it again for {@link Kernel}, which cannot use a channel. IOException if another file is there now. */
    void openForKernel(int headerCrc) throws IOException {
        descriptor = Kernel.open(path.toString().getBytes(StandardCharsets.UTF_8), headerCrc);
        if (descriptor < 0 && Files.exists(path)) {
            throw new IOException("The index file " + path + " cannot be opened twice.");
        }
        if (descriptor < 0) {
            throw new NoSuchFileException(path.toString());
        }
    }

    int descriptor() {
        return descriptor;
    }

    /** McadException if the file was truncated after mapping, which reads of a map cannot detect. */
    void checkSize() throws IOException {
        if (channel.size() != size) {
            throw damaged("it has " + channel.size() + " bytes, and had " + size);
        }
    }

    /** Exactly {@code length} bytes, little-endian; McadException if the file ends before. */
    ByteBuffer read(long offset, int length) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        readInto(buffer, offset);
        return buffer;
    }

    /** Fill a buffer from an offset on, and flip it for reading. */
    void readInto(ByteBuffer buffer, long offset) throws IOException {
        long at = offset;
        while (buffer.hasRemaining()) {
            int count = channel.read(buffer, at);
            if (count < 0) {
                throw damaged("it ends before byte " + (at + buffer.remaining()));
            }
            at += count;
        }
        buffer.flip();
    }

    ByteBuffer map(long offset, long length) throws IOException {
        if (length == 0) {
            return ByteBuffer.allocate(0);
        }
        ByteBuffer map = channel.map(FileChannel.MapMode.READ_ONLY, offset, length).order(ByteOrder.LITTLE_ENDIAN);
        Kernel.readAlone(map);
        return map;
    }

    /** It could not be read, though it may be intact. */
    McadException unreadable() {
        return new McadException(McadException.Kind.INDEX, "The index file " + path + " could not be read.",
            "Restart the phone, then search again.", null);
    }

    McadException damaged(String detail) {
        return new McadException(
            McadException.Kind.DAMAGED, "The index file " + path + " is damaged: " + detail + ".", REBUILD, null);
    }

    @Override
    public void close() throws IOException {
        channel.close();
        Kernel.close(descriptor);
        descriptor = -1;
    }
}
