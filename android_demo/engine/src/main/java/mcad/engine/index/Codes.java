package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import mcad.engine.base.Vectors;

/** The numbers of a photo in an index, and how a query is scored with them (docs/index-format.md). */
final class Codes {
    static final float PROJECTION_UNIT = 1f / 32767;
    static final float SCALE_UNIT = 1f / (1 << 24);
    private static final int LEVELS = 256;
    private static final double SCORE_UNIT = 1.0 / (1L << 36);

    /** One photo: code [D/8], projection in steps of 1/32767, scale in steps of 2^-24 (unsigned), magnitudes [D]. */
    static final class Row {
        final byte[] code;
        final byte[] magnitudes;
        short projection;
        short scale;
        private byte[] record = {};

        Row(int dim) {
            code = new byte[dim / 8];
            magnitudes = new byte[dim];
        }

        /** Copy what is at a place of a segment; {@code dense}: many places come in ascending order. */
        void read(Segment segment, int place, boolean dense) throws IOException {
            if (record.length != segment.record) {
                record = new byte[segment.record];
            }
            if (dense) {
                segment.recordInOrder(place, record);
            } else {
                segment.record(place, record);
            }
            System.arraycopy(record, 0, magnitudes, 0, magnitudes.length);
            int head = segment.scanned / 8;
            for (int i = 0; i < head; i += 8) {
                long word = segment.columns.get(i / 8 * segment.photos + place);
                for (int j = 0; j < 8; j++) {
                    code[i + j] = (byte) (word >> 8 * j);
                }
            }
            int tail = record.length - 4;
            System.arraycopy(record, magnitudes.length, code, head, tail - magnitudes.length);
            projection = (short) (record[tail] & 0xff | record[tail + 1] << 8);
            scale = (short) (record[tail + 2] & 0xff | record[tail + 3] << 8);
        }

        /** Encode a rotated embedding of length 1 around an axis of length 1 or 0. */
        void encode(float[] x, float[] axis) {
            float a = (float) Vectors.dot(x, axis);
            projection = (short) Math.rint(Math.max(-1, Math.min(1, a)) / PROJECTION_UNIT);
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
            float a = projection * PROJECTION_UNIT;
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
        final float projection;
        /** The residual in whole steps so fine that a score is as good as exact, and the same everywhere. */
        private final long[] steps;

        Query(float[] rotated, float[] axis) {
            projection = (float) Vectors.deterministicDot(rotated, axis);
            steps = new long[rotated.length];
            for (int i = 0; i < steps.length; i++) {
                float residual = rotated[i] - projection * axis[i];
                steps[i] = (long) Math.rint(residual / SCORE_UNIT);
            }
        }

        /** Pass 2: a * projection + scale * sum r_i w_i. */
        float score(Row row) {
            byte[] magnitudes = row.magnitudes;
            long sum = 0;
            for (int at = 0, i = 0; at < row.code.length; at++, i += 8) {
                int bits = row.code[at];
                // One expression: a loop of eight takes a JVM a third longer.
                sum += steps[i] * weight(bits, magnitudes[i]) + steps[i + 1] * weight(bits >> 1, magnitudes[i + 1])
                    + steps[i + 2] * weight(bits >> 2, magnitudes[i + 2]) + steps[i + 3] * weight(bits >> 3, magnitudes[i + 3])
                    + steps[i + 4] * weight(bits >> 4, magnitudes[i + 4]) + steps[i + 5] * weight(bits >> 5, magnitudes[i + 5])
                    + steps[i + 6] * weight(bits >> 6, magnitudes[i + 6]) + steps[i + 7] * weight(bits >> 7, magnitudes[i + 7]);
            }
            double product = sum * SCORE_UNIT;
            return (float) (product * ((row.scale & 0xffff) * SCALE_UNIT) + row.projection * ((double) projection * PROJECTION_UNIT));
        }

        private static int weight(int bits, byte magnitude) {
            int sign = ((bits & 1) << 1) - 1;
            return sign * (2 * (magnitude & 0xff) + 1);
        }
    }

    private Codes() {}

    private static boolean isSet(byte[] code, int i) {
        return (code[i >> 3] >> (i & 7) & 1) != 0;
    }
}
