package mcad.engine.index;

/** Of n photos, factor * n ^ exponent * k ^ growth go on to the second pass for k results (docs/index-format.md). */
record CandidateCount(double factor, double exponent, double growth) {
    /** How many of {@code photos}, all of them at most. */
    int of(int photos, int k) {
        if (photos <= k) {
            return photos;
        }
        double wanted = Math.max(factor * Math.pow(photos, exponent) * Math.pow(k, growth), 2.0 * k);
        return (int) Math.min(photos, Math.ceil(wanted));
    }
}
