package mcad.engine.text;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import mcad.engine.McadException;

/**
 * A row of numbers for each token, mapped: V scales, float32 little-endian, then V rows of W int16. The text tower reads
 * rows in place of ids; see mcad_mobile/text/rows.py.
 */
public final class TokenTable {
    private final ByteBuffer file;
    private final int tokens;
    private final int width;

    /** McadException if the file has another size than {@code tokens} rows of {@code width}. */
    public TokenTable(Path path, int tokens, int width) throws IOException {
        this.tokens = tokens;
        this.width = width;
        try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
            long needed = (long) tokens * (4 + 2 * width);
            if (channel.size() != needed) {
                throw new McadException("The token table " + path + " has " + channel.size() + " bytes, not the "
                    + needed + " of " + tokens + " rows of " + width + ".", "Export the bundle again.");
            }
            file = channel.map(FileChannel.MapMode.READ_ONLY, 0, needed);
            file.order(ByteOrder.LITTLE_ENDIAN);
        }
    }

    /** The rows of {@code ids}, one after another: [ids.length * width]. */
    public float[] rows(int[] ids) {
        float[] rows = new float[ids.length * width];
        for (int i = 0; i < ids.length; i++) {
            float scale = file.getFloat(4 * ids[i]);
            int row = 4 * tokens + 2 * ids[i] * width;
            for (int j = 0; j < width; j++) {
                rows[i * width + j] = file.getShort(row + 2 * j) * scale;
            }
        }
        return rows;
    }
}
