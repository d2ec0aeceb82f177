package mcad.engine.index;

/**
 * From how many photos on a segment may have cells, and how much of the estimated cost without them a search may take
 * (ADR 16: a search of an index that is not in memory reads a third less of it).
 */
record CellRule(int photos, double worth) {
    static final CellRule USUAL = new CellRule(65_536, 1.0);
}
