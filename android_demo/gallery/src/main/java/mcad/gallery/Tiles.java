package mcad.gallery;

/** How large the tiles of a grid come out that fills its width with as many columns as fit: all in pixels. */
public final class Tiles {
    private Tiles() {}

    /** The side to decode a photo at: the wider of a column and of what a tile is high. */
    public static int side(int width, int tile, int gap) {
        int columns = Math.max(1, (width + gap) / (tile + gap));
        return Math.max(tile, (width - gap * (columns - 1)) / columns);
    }
}
