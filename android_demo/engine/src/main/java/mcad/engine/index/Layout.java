package mcad.engine.index;

/** How a segment of a format lies in its file: its first eight bytes, the names of its parts, how long each is. */
enum Layout {
    NOW("MCADSEG3", "axis", "lens", "columns", "records", "taken", "stamps", "path_blocks", "paths"),
    /** The same numbers elsewhere: nothing is scanned, and no time is known. */
    PREVIOUS("MCADSEG2", "axis", "codes", "along", "scales", "magnitudes", "stamps", "path_blocks", "paths");

    final String magic;
    final String[] parts;

    Layout(String magic, String... parts) {
        this.magic = magic;
        this.parts = parts;
    }

    /** Length in bytes of each part; 0 for the paths, which nothing else tells. */
    long[] lengths(int dim, int scanned, long photos) {
        long blocks = 8 * ((photos + PathTable.BLOCK - 1) / PathTable.BLOCK);
        // No constant has a body: javac makes such an enum sealed, which D8 refuses.
        if (this == PREVIOUS) {
            return new long[] {4L * dim, photos * dim / 8, 2 * photos, 2 * photos, photos * dim, 8 * photos, blocks, 0};
        }
        return new long[] {4L * dim, 4L * scanned * dim, photos * scanned / 8,
            photos * Segment.recordBytes(dim, scanned), 4 * photos, 8 * photos, blocks, 0};
    }
}
