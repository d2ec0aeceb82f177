package io.github.mcadmobile.engine.index;

/** Lets the probe in at what the index keeps to itself. */
public final class IndexProbe {
    private IndexProbe() {}

    /** From so many photos on, segments that the next writers write have cells, whatever they save. */
    public static void cellsFrom(PhotoIndex index, int photos) {
        index.cellsFrom = photos;
        index.cellsGain = 0;
    }
}
