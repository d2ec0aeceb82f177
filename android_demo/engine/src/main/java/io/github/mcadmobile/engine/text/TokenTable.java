package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * A file with a row of numbers per token: V scales, float32 little-endian, then V rows of W integers of 16 or 4 bits.
 * The text tower takes rows instead of ids. mcad_mobile/engine/text/token_rows.py says why they are read, not mapped.
 */
public final class TokenTable implements Closeable {
    private final Path path;
    private final FileChannel channel;
    private final int tokens;
    private final int width;
    private final int bits; // of a number
    private final int length; // of a row, in bytes

    /** McadException if the file's size is not that of {@code tokens} rows of {@code width} numbers. */
    public TokenTable(Path path, int tokens, int width, int bits) throws IOException {
        this.path = path;
        this.tokens = tokens;
        this.width = width;
        this.bits = bits;
        length = width * bits / 8;
        channel = FileChannel.open(path, StandardOpenOption.READ);
        long needed = (long) tokens * (4 + length);
        long size = channel.size();
        if (size != needed) {
            channel.close();
            throw new McadException("The token table " + path + " has " + size + " bytes, not the " + needed + " of "
                + tokens + " rows of " + width + ".", "Export the bundle again.");
        }
    }

    /** The rows of {@code ids}, concatenated: [ids.length * width]. McadException if the file ends early. */
    public float[] rows(int[] ids) throws IOException {
        float[] rows = new float[ids.length * width];
        ByteBuffer scale = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN);
        ByteBuffer row = ByteBuffer.allocate(length).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < ids.length; i++) {
            if (i > 0 && ids[i] == ids[i - 1]) { // padding
                System.arraycopy(rows, (i - 1) * width, rows, i * width, width);
                continue;
            }
            read(scale, 4L * ids[i]);
            read(row, 4L * tokens + (long) length * ids[i]);
            float step = scale.getFloat(0);
            for (int j = 0; j < width; j++) {
                int number = bits == 16 ? row.getShort(2 * j) : (row.get(j / 2) >> 4 * (j % 2) & 15) - 8;
                rows[i * width + j] = number * step;
            }
        }
        return rows;
    }

    private void read(ByteBuffer into, long offset) throws IOException {
        into.clear();
        while (into.hasRemaining()) {
            if (channel.read(into, offset + into.position()) < 0) {
                throw new McadException("The token table " + path + " ends before a row that it had.",
                    "Export the bundle again.");
            }
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
