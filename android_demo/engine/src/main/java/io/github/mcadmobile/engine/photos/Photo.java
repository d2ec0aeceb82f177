package io.github.mcadmobile.engine.photos;

/** A decoded photo, not yet upright, read row by row to avoid a second copy of 12 megapixels. */
public interface Photo extends AutoCloseable {
    int width();

    int height();

    /** Read row y as 0xAARRGGBB, not premultiplied, into the first {@code width()} items of {@code argb}. */
    void readRow(int y, int[] argb);

    /** The EXIF orientation, 1 to 8, still to be applied. */
    int orientation();

    @Override
    default void close() {}
}
