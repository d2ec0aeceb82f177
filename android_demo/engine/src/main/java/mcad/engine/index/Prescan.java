package mcad.engine.index;

/** A scan of the first {@code bits} (a multiple of 64) alone, and how many candidates it passes on to the scan. */
record Prescan(int bits, CandidateCount candidates) {}
