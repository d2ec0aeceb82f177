package io.github.mcadmobile.engine.base;

/** Linear algebra for embeddings. */
public final class Vectors {
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

    /** The cosine of two vectors; 0 if one of them is zero. */
    public static double cosine(float[] a, float[] b) {
        double lengths = Math.sqrt(dot(a, a) * dot(b, b));
        return lengths > 0 ? dot(a, b) / lengths : 0;
    }
}
