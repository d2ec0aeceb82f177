package io.github.mcadmobile.engine.index;

/** Of n photos, factor * n ^ exponent * k ^ growth are candidates for k results (docs/index-format.md). */
record CandidateCount(double factor, double exponent, double growth) {
    /** The candidates among {@code photos} for {@code k} results. */
    int of(int photos, int k) {
        return Kernel.count(factor, exponent, growth, photos, k, false);
    }

    /** The photos that the scanned cells must hold, of {@code photos}. */
    int inCells(int photos, int k) {
        return Kernel.count(factor, exponent, growth, photos, k, true);
    }
}
