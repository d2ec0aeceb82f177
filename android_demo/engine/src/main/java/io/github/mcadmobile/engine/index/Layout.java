package io.github.mcadmobile.engine.index;

/** The layout of a segment's file: its magic bytes, and the names and lengths of its parts in order. */
final class Layout {
    static final String MAGIC = "MCADSEG1";
    static final String[] PARTS = {"axis", "bit_weights", "centroids", "starts", "rows", "columns", "records", "times",
        "stamps", "path_blocks", "paths"};

    private Layout() {}

    /** The length of each part in bytes; 0 for the paths, whose length depends on their text. */
    static long[] lengths(int dim, int scanned, int cells, long photos) {
        return new long[] {
            4L * dim,
            4L * scanned * dim,
            2L * cells * dim,
            cells == 0 ? 0 : 4L * (cells + 1),
            cells == 0 ? 0 : 4 * photos,
            photos * scanned / 8,
            photos * Segment.recordBytes(dim, scanned),
            4 * photos,
            8 * photos,
            8 * ((photos + PathTable.BLOCK - 1) / PathTable.BLOCK),
            0};
    }
}
