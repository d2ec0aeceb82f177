package io.github.mcadmobile.gallery;

/** Sizes of the tiles of a grid that fills its width with as many columns as fit, in pixels. */
public final class Tiles {
    private Tiles() {}

    /** The size to decode photos at: the larger of a column's width and a tile's height. */
    public static int side(int width, int tile, int gap) {
        int columns = Math.max(1, (width + gap) / (tile + gap));
        return Math.max(tile, (width - gap * (columns - 1)) / columns);
    }
}
