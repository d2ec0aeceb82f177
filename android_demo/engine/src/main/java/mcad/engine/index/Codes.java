package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import mcad.engine.Vectors;

/** The numbers of a photo in an index, and how a query is scored with them (docs/index-format.md). */
final class Codes {
    static final float ALONG_UNIT = 1f / 32767;
    static final float SCALE_UNIT = 1f / (1 << 24);
    private static final int LEVELS = 256;
    private static final double SCORE_UNIT = 1.0 / (1L << 36);

    /** One photo: code [D/8], along in steps of 1/32767, scale in steps of 2^-24 (unsigned), magnitudes [D]. */
    static final class Row {
        final byte[] code;
        final byte[] magnitudes;
        short along;
        short scale;
        private byte[] record = {};

        Row(int dim) {
            code = new byte[dim / 8];
            magnitudes = new byte[dim];
        }

        /** Copy a row of a segment; {@code dense}: many rows come in ascending order. */
        void read(Segment segment, int row, boolean dense) throws IOException {
            if (record.length != segment.record) {
                record = new byte[segment.record];
            }
            if (dense) {
                segment.recordInOrder(row, record);
            } else {
                segment.record(row, record);
            }
            System.arraycopy(record, 0, magnitudes, 0, magnitudes.length);
            int head = segment.scanned / 8;
            for (int i = 0; i < head; i += 8) {
                long word = segment.columns.get(i / 8 * segment.photos + row);
                for (int j = 0; j < 8; j++) {
                    code[i + j] = (byte) (word >> 8 * j);
                }
            }
            int rest = record.length - 4;
            System.arraycopy(record, magnitudes.length, code, head, rest - magnitudes.length);
            along = (short) (record[rest] & 0xff | record[rest + 1] << 8);
            scale = (short) (record[rest + 2] & 0xff | record[rest + 3] << 8);
        }

        /** Encode a rotated embedding of length 1 around an axis of length 1 or 0. */
        void encode(float[] x, float[] axis) {
            float a = (float) Vectors.dot(x, axis);
            along = (short) Math.rint(Math.max(-1, Math.min(1, a)) / ALONG_UNIT);
            float top = 0;
            for (int i = 0; i < x.length; i++) {
                top = Math.max(top, Math.abs(x[i] - a * axis[i]));
            }
            int steps = (int) Math.max(1, Math.min(65535, Math.ceil(top / (2 * LEVELS * SCALE_UNIT))));
            scale = (short) steps;
            float step = steps * (2 * SCALE_UNIT);
            Arrays.fill(code, (byte) 0);
            for (int i = 0; i < x.length; i++) {
                float z = x[i] - a * axis[i];
                magnitudes[i] = (byte) Math.min(LEVELS - 1, (int) (Math.abs(z) / step));
                if (z > 0) {
                    code[i >> 3] |= (byte) (1 << (i & 7));
                }
            }
        }

        /** The rotated embedding that the numbers stand for. */
        float[] decode(float[] axis) {
            float size = (scale & 0xffff) * SCALE_UNIT;
            float a = along * ALONG_UNIT;
            float[] x = new float[axis.length];
            for (int i = 0; i < x.length; i++) {
                int level = 2 * (magnitudes[i] & 0xff) + 1;
                x[i] = (isSet(code, i) ? level : -level) * size + a * axis[i];
            }
            return x;
        }
    }

    /** A rotated query split by an axis: a, and r. */
    static final class Query {
        final float along;
        /** The rest in steps so fine and so few that no sum of a score rounds, whatever its order. */
        private final double[] steps;

        Query(float[] rotated, float[] axis) {
            along = (float) Vectors.exactDot(rotated, axis);
            steps = new double[rotated.length];
            for (int i = 0; i < steps.length; i++) {
                float rest = rotated[i] - along * axis[i];
                steps[i] = Math.rint(rest / SCORE_UNIT) * SCORE_UNIT;
            }
        }

        /** Pass 2: a * along + scale * sum r_i w_i. */
        float score(Row row) {
            byte[] magnitudes = row.magnitudes;
            double sum = 0;
            for (int at = 0; at < row.code.length; at++) {
                int bits = row.code[at];
                int base = at << 3;
                for (int i = base; i < base + 8; i++) {
                    int sign = ((bits & 1) << 1) - 1;
                    bits >>= 1;
                    sum += steps[i] * (sign * (2 * (magnitudes[i] & 0xff) + 1));
                }
            }
            return (float) (sum * ((row.scale & 0xffff) * SCALE_UNIT) + row.along * ((double) along * ALONG_UNIT));
        }
    }

    private Codes() {}

    private static boolean isSet(byte[] code, int i) {
        return (code[i >> 3] >> (i & 7) & 1) != 0;
    }
}
