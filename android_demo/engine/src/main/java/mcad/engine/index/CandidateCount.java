package mcad.engine.index;

/** Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results (docs/index-format.md). */
record CandidateCount(double factor, double exponent, double growth) {
    /** How many cells do for fewer photos was not measured: an eighth of a sample. */
    private static final int CELLS_MEASURED_FROM = 2048;

    /** The candidates among {@code photos} for {@code k} results. */
    int of(int photos, int k) {
        if (photos <= k) {
            return photos;
        }
        double wanted = Math.max(factor * Math.pow(photos, exponent) * Math.pow(k, growth), 2.0 * k);
        return (int) Math.min(photos, Math.ceil(wanted));
    }

    /** How many of {@code photos} the cells must hold that a scan reads. */
    int inCells(int photos, int k) {
        return photos < CELLS_MEASURED_FROM ? photos : of(photos, k);
    }
}
