package io.github.mcadmobile.engine.index;

import java.io.IOException;

/** Whole records of photos: D magnitudes, the D/8 bytes of the code, projection and scale (docs/index-format.md). */
final class Records {
    private Records() {}

    static int size(int dim) {
        return dim + dim / 8 + 4;
    }

    /**
     * Read the record at a place of a segment to {@code out} from {@code at} on; {@code dense}: many places follow in
     * ascending order.
     */
    static void read(Segment segment, int place, boolean dense, byte[] out, int at) throws IOException {
        byte[] stored = segment.record(place, dense);
        int dim = segment.dim;
        int head = segment.scanned / 8;
        System.arraycopy(stored, 0, out, at, dim);
        for (int word = 0; word < segment.scanned / 64; word++) {
            long bits = segment.columns.get(word * segment.photos + place);
            for (int j = 0; j < 8; j++) {
                out[at + dim + 8 * word + j] = (byte) (bits >> 8 * j);
            }
        }
        System.arraycopy(stored, dim, out, at + dim + head, stored.length - dim);
    }

    /** The rotated embeddings of rows of a segment, one after the other. */
    static float[] decoded(Segment segment, int... rows) throws IOException {
        byte[] records = new byte[rows.length * size(segment.dim)];
        for (int i = 0; i < rows.length; i++) {
            read(segment, segment.places.of(rows[i]), rows.length > 1 && segment.places.areRows(), records,
                i * size(segment.dim));
        }
        float[] decoded = new float[rows.length * segment.dim];
        Kernel.decode(records, segment.axis, decoded);
        return decoded;
    }
}
