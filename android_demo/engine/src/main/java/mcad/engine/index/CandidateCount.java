package mcad.engine.index;

/** Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results (docs/index-format.md). */
record CandidateCount(double factor, double exponent, double growth) {
    /** The counts of cells were measured down to this many photos, an eighth of a sample. */
    private static final int CELLS_MEASURED_FROM = 2048;

    /** The candidates among {@code photos} for {@code k} results. */
    int of(int photos, int k) {
        if (photos <= k) {
            return photos;
        }
        double wanted = Math.max(factor * Math.pow(photos, exponent) * Math.pow(k, growth), 2.0 * k);
        return (int) Math.min(photos, Math.ceil(wanted));
    }

    /** The photos that the scanned cells must hold, of {@code photos}. */
    int inCells(int photos, int k) {
        return photos < CELLS_MEASURED_FROM ? photos : of(photos, k);
    }
}
