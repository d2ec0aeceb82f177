package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import mcad.engine.base.Vectors;

/** The quantized form of a photo in an index, and of a query for scoring (docs/index-format.md). */
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

        /** Read the photo at a place of a segment; {@code dense}: many places follow in ascending order. */
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

        /** The rotated embedding that this row encodes. */
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

    /** A rotated query split by an axis: projection in units of a photo's, residual in integer multiples of 2^-36. */
    static final class Query {
        final double projectionStep;
        final double[] residual;

        Query(float[] rotated, float[] axis) {
            float projection = (float) Vectors.deterministicDot(rotated, axis);
            projectionStep = (double) projection * PROJECTION_UNIT;
            residual = new double[rotated.length];
            for (int i = 0; i < residual.length; i++) {
                residual[i] = Math.rint((rotated[i] - projection * axis[i]) / SCORE_UNIT) * SCORE_UNIT;
            }
        }
    }

    private Codes() {}

    private static boolean isSet(byte[] code, int i) {
        return (code[i >> 3] >> (i & 7) & 1) != 0;
    }
}
