package io.github.mcadmobile.engine.index;

/** A scan of only the first {@code bits} (a multiple of 64), and how many candidates it passes on to the full scan. */
record Prescan(int bits, CandidateCount candidates) {}
