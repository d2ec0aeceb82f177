package mcad.engine.index;

/** The best photos, best first, with their cosines, and the time that each pass took (ms). */
public record Hits(String[] paths, float[] scores, double scanMs, double rescoreMs) {}
