package mcad.engine.index;

/** A scan of the first {@code bits} alone, a multiple of 64: how many photos are looked at by all that are in columns. */
record Prescan(int bits, CandidateCount candidates) {}
