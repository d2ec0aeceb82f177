package mcad.engine.index;

/**
 * Rows of a segment, ascending, and how far each is from the query in bits, of which one more takes 2 * {@code step} from
 * the cosine; {@code distances} are null where all rows are scored.
 */
record Candidates(int[] rows, int[] distances, double step) {
    static Candidates all(int[] rows) {
        return new Candidates(rows, null, 0);
    }
}
