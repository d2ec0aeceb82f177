package mcad.engine;

import java.io.IOException;
import mcad.engine.base.Npy;
import mcad.engine.base.Vectors;

/** The score from which a photo counts as a match for a query, by the bundle's sample of photos. */
final class MatchThreshold {
    private final Bundle.NoMatch measured;
    private final float[] mean;

    private MatchThreshold(Bundle.NoMatch measured, float[] mean) {
        this.measured = measured;
        this.mean = mean;
    }

    /** Null for a student whose threshold was never measured. */
    static MatchThreshold of(Bundle bundle) throws IOException {
        if (bundle.noMatch == null) {
            return null;
        }
        Npy sample = Npy.read(bundle.path(bundle.sample));
        double[] total = new double[bundle.dim];
        for (int row = 0; row < sample.rows(); row++) {
            float[] embedding = Vectors.normalized(sample.floats(row));
            for (int i = 0; i < total.length; i++) {
                total[i] += embedding[i];
            }
        }
        float[] mean = new float[total.length];
        for (int i = 0; i < mean.length; i++) {
            mean[i] = (float) (total[i] / sample.rows());
        }
        return new MatchThreshold(bundle.noMatch, mean);
    }

    /**
     * The cosine from which one of {@code photos} photos matches a query [dim] of unit length: the rule of
     * mcad_mobile/engine/query.py. What the query scores on average is its product with the average photo.
     */
    float threshold(float[] query, int photos) {
        double atLarge = Vectors.dot(query, mean);
        return (float) (atLarge + measured.margin() + measured.perLogN() * Math.log(Math.max(photos, 1)));
    }
}
