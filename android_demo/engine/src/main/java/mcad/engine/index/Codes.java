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

        Row(int dim) {
            code = new byte[dim / 8];
            magnitudes = new byte[dim];
        }

        /** Copy a row of a segment; rows come in ascending order. */
        void read(Segment segment, int row) throws IOException {
            segment.code(row, code);
            segment.magnitudesInOrder(row, magnitudes);
            along = segment.along.get(row);
            scale = segment.scales.get(row);
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

    /** A rotated query split by an axis: a, and r with its sign bits. */
    static final class Query {
        final float along;
        final float[] rest;
        final byte[] code;
        /** The rest in steps so fine and so few that no sum of a score rounds, whatever its order. */
        private final double[] steps;

        Query(float[] rotated, float[] axis) {
            along = (float) Vectors.exactDot(rotated, axis);
            rest = new float[rotated.length];
            steps = new double[rotated.length];
            code = new byte[rotated.length / 8];
            for (int i = 0; i < rest.length; i++) {
                rest[i] = rotated[i] - along * axis[i];
                steps[i] = Math.rint(rest[i] / SCORE_UNIT) * SCORE_UNIT;
                if (rest[i] > 0) {
                    code[i >> 3] |= (byte) (1 << (i & 7));
                }
            }
        }

        /** Pass 2: a * along + scale * sum r_i w_i. */
        float score(byte[] rowCode, byte[] magnitudes, short rowAlong, short rowScale) {
            double sum = 0;
            for (int at = 0; at < rowCode.length; at++) {
                int bits = rowCode[at];
                int base = at << 3;
                for (int i = base; i < base + 8; i++) {
                    int sign = ((bits & 1) << 1) - 1;
                    bits >>= 1;
                    sum += steps[i] * (sign * (2 * (magnitudes[i] & 0xff) + 1));
                }
            }
            return (float) (sum * ((rowScale & 0xffff) * SCALE_UNIT) + rowAlong * ((double) along * ALONG_UNIT));
        }
    }

    private Codes() {}

    private static boolean isSet(byte[] code, int i) {
        return (code[i >> 3] >> (i & 7) & 1) != 0;
    }
}
