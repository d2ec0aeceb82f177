package mcad.engine.base;

/** The little linear algebra that embeddings need. */
public final class Vectors {
    private static final double DOT_STEPS = 1 << 26;

    private Vectors() {}

    /** The vector at unit length; a zero vector stays zero. */
    public static float[] normalized(float[] vector) {
        double length = Math.max(Math.sqrt(dot(vector, vector)), 1e-12);
        float[] scaled = new float[vector.length];
        for (int i = 0; i < vector.length; i++) {
            scaled[i] = (float) (vector[i] / length);
        }
        return scaled;
    }

    public static double dot(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += (double) a[i] * b[i];
        }
        return sum;
    }

    /**
     * The product of two vectors of length 1, each rounded to multiples of 2^-26 first: no sum of theirs rounds, so
     * every order of additions, and mcad_mobile/engine/index/codes.py, gives the same.
     */
    public static double deterministicDot(float[] a, float[] b) {
        double sum = 0;
        for (int i = 0; i < a.length; i++) {
            sum += Math.rint(a[i] * DOT_STEPS) * Math.rint(b[i] * DOT_STEPS);
        }
        return sum / (DOT_STEPS * DOT_STEPS);
    }

    /** Cosine of the angle between two vectors; 0 when one of them is zero. */
    public static double cosine(float[] a, float[] b) {
        double lengths = Math.sqrt(dot(a, a) * dot(b, b));
        return lengths > 0 ? dot(a, b) / lengths : 0;
    }
}
