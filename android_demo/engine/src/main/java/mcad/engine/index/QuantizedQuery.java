package mcad.engine.index;

/**
 * A query as words of bits [3][W]: the signs of its weights, the bits that count 1 where they differ, and those that
 * count 2. {@code step} is the cosine per unit of distance.
 */
record QuantizedQuery(long[] words, double step) {}
