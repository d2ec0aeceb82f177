package mcad.engine.index;

/**
 * A segment gets cells if it has at least {@code photos} photos and the estimated cost of a search is below {@code
 * worth} of that without cells (ADR 16: a search of an index not in memory reads a third less).
 */
record CellRule(int photos, double worth) {
    static final CellRule USUAL = new CellRule(65_536, 1.0);
}
