package mcad.engine.index;

/** How a segment of a format lies in its file: its first eight bytes, the names of its parts, how long each is. */
enum Layout {
    NOW("MCADSEG3", new int[] {0, 1, 2, 3, 4, 5, 6, 7},
        "axis", "lens", "columns", "records", "taken", "stamps", "path_blocks", "paths"),
    /** Today's with cells, whose parts have the highest numbers, so that all others have the same in both. */
    CELLS("MCADSEG4", new int[] {0, 1, 8, 9, 10, 2, 3, 4, 5, 6, 7},
        "axis", "lens", "columns", "records", "taken", "stamps", "path_blocks", "paths", "centroids", "starts", "rows"),
    /** The same numbers elsewhere: nothing is scanned, and no time is known. */
    PREVIOUS("MCADSEG2", new int[] {0, 1, 2, 3, 4, 5, 6, 7},
        "axis", "codes", "along", "scales", "magnitudes", "stamps", "path_blocks", "paths");

    final String magic;
    /** Numbers of the parts, as they lie in the file. */
    final int[] order;
    /** By their numbers. */
    final String[] parts;

    Layout(String magic, int[] order, String... parts) {
        this.magic = magic;
        this.order = order;
        this.parts = parts;
    }

    /** Where S stands, and C behind it: at the end of the table of parts. */
    int behindTable() {
        return Segment.PART_TABLE + Segment.PART_SIZE * parts.length;
    }

    /** Length in bytes of each part by its number; 0 for the paths, which nothing else tells. */
    long[] lengths(int dim, int scanned, long photos, int cells) {
        long blocks = 8 * ((photos + PathTable.BLOCK - 1) / PathTable.BLOCK);
        // No constant has a body: javac makes such an enum sealed, which D8 refuses.
        if (this == PREVIOUS) {
            return new long[] {4L * dim, photos * dim / 8, 2 * photos, 2 * photos, photos * dim, 8 * photos, blocks, 0};
        }
        long records = photos * Segment.recordBytes(dim, scanned);
        if (this == CELLS) {
            return new long[] {4L * dim, 4L * scanned * dim, photos * scanned / 8, records, 4 * photos, 8 * photos, blocks, 0,
                2L * cells * dim, 4L * (cells + 1), 4 * photos};
        }
        return new long[] {4L * dim, 4L * scanned * dim, photos * scanned / 8, records, 4 * photos, 8 * photos, blocks, 0};
    }
}
