package mcad.engine.index;

/**
 * Places of a segment, ascending, and how far each is from the query in bits, of which one more takes 2 * {@code step}
 * from the cosine; {@code distances} are null where all are scored.
 */
record Candidates(int[] places, int[] distances, double step) {}
