package mcad.engine.index;

/**
 * One fixed rotation of all embeddings, x = H S2 H S1 e, that mixes their coordinates and keeps every inner product:
 * two rounds of random signs and a Hartley transform (docs/index-format.md). H is its own inverse.
 */
final class Rotation {
    private final int dim;
    private final float[] first;
    private final float[] second;
    private final double[] cos;
    private final double[] sin;

    Rotation(int dim) {
        this.dim = dim;
        first = new float[dim];
        second = new float[dim];
        int state = 1;
        for (int i = 0; i < 2 * dim; i++) {
            state = state * 1664525 + 1013904223;
            (i < dim ? first : second)[i % dim] = state < 0 ? -1 : 1;
        }
        cos = new double[dim];
        sin = new double[dim];
        for (int k = 0; k < dim; k++) {
            cos[k] = Math.cos(2 * Math.PI * k / dim);
            sin[k] = Math.sin(2 * Math.PI * k / dim);
        }
    }

    float[] rotate(float[] vector) {
        return hartley(times(hartley(times(vector, first)), second));
    }

    float[] unrotate(float[] vector) {
        return times(hartley(times(hartley(vector), second)), first);
    }

    private static float[] times(float[] a, float[] signs) {
        float[] product = new float[a.length];
        for (int i = 0; i < a.length; i++) {
            product[i] = a[i] * signs[i];
        }
        return product;
    }

    private float[] hartley(float[] vector) {
        double[] in = new double[dim];
        for (int i = 0; i < dim; i++) {
            in[i] = vector[i];
        }
        double[] out = transform(in, 1);
        float[] scaled = new float[dim];
        double scale = 1 / Math.sqrt(dim);
        for (int i = 0; i < dim; i++) {
            scaled[i] = (float) (out[i] * scale);
        }
        return scaled;
    }

    /** Halves of even and odd elements while the length is even, the definition where it is not. */
    private double[] transform(double[] in, int stride) {
        int n = in.length;
        double[] out = new double[n];
        if (n % 2 != 0) {
            for (int k = 0; k < n; k++) {
                for (int j = 0; j < n; j++) {
                    int angle = (int) ((long) j * k % n) * stride;
                    out[k] += in[j] * (cos[angle] + sin[angle]);
                }
            }
            return out;
        }
        int half = n / 2;
        double[] even = new double[half];
        double[] odd = new double[half];
        for (int i = 0; i < half; i++) {
            even[i] = in[2 * i];
            odd[i] = in[2 * i + 1];
        }
        even = transform(even, 2 * stride);
        odd = transform(odd, 2 * stride);
        for (int k = 0; k < n; k++) {
            int low = k % half;
            int mirrored = (half - low) % half;
            out[k] = even[low] + cos[k * stride] * odd[low] + sin[k * stride] * odd[mirrored];
        }
        return out;
    }
}
