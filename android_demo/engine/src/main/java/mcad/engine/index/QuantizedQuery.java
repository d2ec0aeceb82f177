package mcad.engine.index;

/** Signs of a query's weights, the bits that count 1 where they differ, those that count 2; and what one of a distance is. */
record QuantizedQuery(long[][] words, double step) {}
