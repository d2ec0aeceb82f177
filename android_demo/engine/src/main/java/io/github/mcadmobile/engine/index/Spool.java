package io.github.mcadmobile.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Rotated embeddings that wait for a commit, in an unlinked file. */
final class Spool implements Closeable {
    private final FileChannel file;
    private final ByteBuffer bytes;
    private int rows;

    Spool(Path directory, int dim) throws IOException {
        Path path = Files.createTempFile(directory, "spool", ".tmp");
        file = FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE);
        Files.delete(path); // it exists until closed, so a crash leaves nothing behind
        bytes = ByteBuffer.allocate(4 * dim).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** Returns the number of the appended row. */
    int append(float[] row) throws IOException {
        bytes.clear();
        bytes.asFloatBuffer().put(row);
        long at = (long) rows * bytes.capacity();
        while (bytes.hasRemaining()) {
            at += file.write(bytes, at);
        }
        return rows++;
    }

    /** The embeddings of rows, one after the other. */
    float[] read(int... rows) throws IOException {
        float[] numbers = new float[rows.length * bytes.capacity() / 4];
        for (int i = 0; i < rows.length; i++) {
            bytes.clear();
            long at = (long) rows[i] * bytes.capacity();
            while (bytes.hasRemaining() && file.read(bytes, at + bytes.position()) >= 0) {
                // until it is full
            }
            bytes.flip();
            bytes.asFloatBuffer().get(numbers, i * bytes.capacity() / 4, bytes.capacity() / 4);
        }
        return numbers;
    }

    @Override
    public void close() throws IOException {
        file.close();
    }
}
