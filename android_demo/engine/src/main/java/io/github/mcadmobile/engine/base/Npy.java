package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** The array of a .npy file (NumPy format 1.0 to 3.0): float32 or int32, in C order. */
public final class Npy {
    private static final Pattern HEADER = Pattern.compile(
        "'descr':\\s*'(<f4|<i4)'.*'fortran_order':\\s*False.*'shape':\\s*\\(([0-9, ]*)\\)");

    public final int[] shape;
    private final ByteBuffer data;
    private final boolean isFloat;

    private Npy(int[] shape, ByteBuffer data, boolean isFloat) {
        this.shape = shape;
        this.data = data;
        this.isFloat = isFloat;
    }

    /** Read a file. McadException if it is not such an array. */
    public static Npy read(Path file) throws IOException {
        byte[] bytes = Files.readAllBytes(file);
        ByteBuffer buffer = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        if (bytes.length < 12 || buffer.getInt(0) != 0x4D554E93) {
            throw wrong(file);
        }
        boolean first = bytes[6] == 1;
        int start = first ? 10 : 12;
        int length = first ? buffer.getShort(8) & 0xffff : buffer.getInt(8);
        if (length < 0 || start + (long) length > bytes.length) {
            throw wrong(file);
        }
        Matcher header = HEADER.matcher(new String(bytes, start, length, StandardCharsets.ISO_8859_1));
        if (!header.find()) {
            throw wrong(file);
        }
        String[] sizes = header.group(2).replace(" ", "").split(",");
        int[] shape = new int[sizes.length];
        long count = 1;
        for (int i = 0; i < sizes.length; i++) {
            shape[i] = Integer.parseInt(sizes[i]);
            count *= shape[i];
        }
        if (start + length + 4 * count != bytes.length) {
            throw wrong(file);
        }
        ByteBuffer data = ByteBuffer.wrap(bytes, start + length, (int) (4 * count)).slice();
        return new Npy(shape, data.order(ByteOrder.LITTLE_ENDIAN), header.group(1).equals("<f4"));
    }

    public int rows() {
        return shape[0];
    }

    /** Row i, its other axes flattened: a float[] or an int[]. */
    public Object row(int i) {
        int width = data.capacity() / 4 / shape[0];
        if (isFloat) {
            return floats(i);
        }
        int[] row = new int[width];
        for (int j = 0; j < width; j++) {
            row[j] = data.getInt(4 * (i * width + j));
        }
        return row;
    }

    /** Row i of a float32 array. */
    public float[] floats(int i) {
        int width = data.capacity() / 4 / shape[0];
        float[] row = new float[width];
        for (int j = 0; j < width; j++) {
            row[j] = data.getFloat(4 * (i * width + j));
        }
        return row;
    }

    private static McadException wrong(Path file) {
        return new McadException(file + " is not a float32 or int32 array as numpy.save writes it.",
            "Export the bundle again.");
    }
}
