package mcad.engine.index;

/**
 * From how many photos on a segment may have cells, and how little of the cost without them a search must take: below a
 * tenth saved, they are not worth their part of what is missed.
 */
record CellRule(int photos, double worth) {
    static final CellRule USUAL = new CellRule(131_072, 0.9);
}
