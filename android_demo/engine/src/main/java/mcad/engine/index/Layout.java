package mcad.engine.index;

/** How a segment of a format lies in its file: its first eight bytes, the names of its parts, how long each is. */
enum Layout {
    NOW("MCADSEG3", "axis", "lens", "columns", "records", "taken", "stamps", "path_blocks", "paths") {
        @Override
        long[] lengths(int dim, int scanned, long photos) {
            return new long[] {4L * dim, 4L * scanned * dim, photos * scanned / 8,
                photos * Segment.recordBytes(dim, scanned), 4 * photos, 8 * photos, pathBlocks(photos), 0};
        }
    },
    /** The same numbers elsewhere: nothing is scanned, and no time is known. */
    PREVIOUS("MCADSEG2", "axis", "codes", "along", "scales", "magnitudes", "stamps", "path_blocks", "paths") {
        @Override
        long[] lengths(int dim, int scanned, long photos) {
            return new long[] {4L * dim, photos * dim / 8, 2 * photos, 2 * photos, photos * dim, 8 * photos,
                pathBlocks(photos), 0};
        }
    };

    final String magic;
    final String[] parts;

    Layout(String magic, String... parts) {
        this.magic = magic;
        this.parts = parts;
    }

    /** Length in bytes of each part; 0 for the paths, which nothing else tells. */
    abstract long[] lengths(int dim, int scanned, long photos);

    private static long pathBlocks(long photos) {
        return 8 * ((photos + PathTable.BLOCK - 1) / PathTable.BLOCK);
    }
}
