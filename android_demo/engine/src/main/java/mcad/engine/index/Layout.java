package mcad.engine.index;

/** How a segment lies in its file: its first eight bytes, the names of its parts in order, how long each is. */
final class Layout {
    static final String MAGIC = "MCADSEG1";
    static final String[] PARTS = {"axis", "bit_weights", "centroids", "starts", "rows", "columns", "records", "times",
        "stamps", "path_blocks", "paths"};

    private Layout() {}

    /** Length in bytes of each part; 0 for the paths, whose length depends on the paths alone. */
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
