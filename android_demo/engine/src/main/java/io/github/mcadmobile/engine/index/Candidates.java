package io.github.mcadmobile.engine.index;

/**
 * Places in a segment, ascending, and their distances from the query in bits: each bit lowers the cosine by 2 * {@code
 * step}. {@code distances} are null if all are scored.
 */
record Candidates(int[] places, int[] distances, double step) {}
