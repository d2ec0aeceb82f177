package mcad.engine.photos;

/** A decoded photo as it lies in its file, read row by row so that no second copy of 12 megapixels is needed. */
public interface Photo extends AutoCloseable {
    int width();

    int height();

    /** Row y as 0xAARRGGBB, not premultiplied, into the first {@code width()} of {@code argb}. */
    void readRow(int y, int[] argb);

    /** EXIF orientation, 1 to 8: what must be done to it to stand upright. */
    int orientation();

    @Override
    default void close() {}
}
