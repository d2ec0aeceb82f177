package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import mcad.engine.McadException;

/** A segment's file, read at offsets or mapped; it stays readable after it is deleted. */
final class SegmentFile implements Closeable {
    static final String REBUILD = "Restore the file from a backup, or delete the index and index the photos again.";

    final Path path;
    final FileChannel channel;
    final long size;

    SegmentFile(Path path) throws IOException {
        this.path = path;
        channel = FileChannel.open(path, StandardOpenOption.READ);
        size = channel.size();
    }

    /** Exactly {@code length} bytes, little-endian; McadException when the file ends before. */
    ByteBuffer read(long offset, int length) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        readInto(buffer, offset);
        return buffer;
    }

    /** Fill a buffer from an offset on, and turn it to be read. */
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
        return channel.map(FileChannel.MapMode.READ_ONLY, offset, length).order(ByteOrder.LITTLE_ENDIAN);
    }

    McadException damaged(String detail) {
        return new McadException(
            McadException.Kind.DAMAGED, "The index file " + path + " is damaged: " + detail + ".", REBUILD, null);
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
