package mcad.engine.index;

/**
 * A query as words of bits [3][W]: the signs of its weights, the bits that count 1 where they differ, and those that count 2.
 * {@code step} is the cosine that one unit of the distance stands for.
 */
record QuantizedQuery(long[] words, double step) {}
