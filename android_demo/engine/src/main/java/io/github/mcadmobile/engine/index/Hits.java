package io.github.mcadmobile.engine.index;

/** The best photos, best first, with their cosines, and the time of each pass in ms. */
public record Hits(String[] paths, float[] scores, double scanMs, double rescoreMs) {}
