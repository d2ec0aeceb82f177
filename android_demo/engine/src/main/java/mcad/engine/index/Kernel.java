package mcad.engine.index;

import java.nio.ByteBuffer;
import mcad.engine.McadException;

/**
 * The search kernels in C (mcad_mobile/engine/native), the same that Python calls. They check all that they are given:
 * IllegalArgumentException names what does not fit, OutOfMemoryError says that there is no memory. Buffers are direct;
 * bits are least significant first.
 */
final class Kernel {
    /** Names a file in place of the library that an app brings. */
    private static final String LIBRARY = "mcad.search.library";
    private static final int LAYOUT = 5;
    private static boolean loaded;

    private Kernel() {}

    /** Load the library. McadException where it is missing, or of another version. */
    static synchronized void load() throws McadException {
        if (loaded) {
            return;
        }
        String path = System.getProperty(LIBRARY);
        try {
            if (path == null) {
                System.loadLibrary("mcad_search");
            } else {
                System.load(path);
            }
            loaded = layout() == LAYOUT;
        } catch (UnsatisfiedLinkError error) {
            throw new McadException("The search kernels could not be loaded: " + error.getMessage() + ".", "Install the app again.", error);
        }
        if (!loaded) {
            throw new McadException("The search kernels are of another version than the engine.", "Build both again, from one mcad-mobile.");
        }
    }

    private static native int layout();

    /** The descriptor of a segment's file; -1 if it cannot be opened, -2 if its header has another CRC-32. */
    static native int open(byte[] path, int headerCrc);

    static native void close(int descriptor);

    /** Have the system fetch bytes of a file, all {@code spans} at once: from, to before, from, to before ... */
    static native void fetch(int descriptor, long[] spans);

    /** Have page faults of a map read one page each, and not what lies around it. */
    static native void readAlone(ByteBuffer map);

    /** The rotation of an embedding (docs/index-format.md), or, {@code back}, what it is of. */
    static float[] rotated(float[] vector, boolean back) {
        float[] rotated = vector.clone();
        rotate(rotated, back);
        return rotated;
    }

    static native void rotate(float[] vector, boolean back);

    /**
     * Pass 1: the places of a segment at the least weighted distance from a query.
     *
     * @param columns words [W][photos], bit i of word w is dimension 64 w + i
     * @param query [3][W]: its bits, those that count 1 where they differ, those that count 2
     * @param spans of places: from, to before, from, to before ... ascending
     * @param allowed a bit a place, or null: all
     * @param prescanWords if above 0, {@code prescanned} places are found by so many words first
     * @return at most {@code wanted} places, ascending, then their distances; of equally near ones the first
     */
    static native int[] nearest(ByteBuffer columns, int photos, long[] query, int[] spans, ByteBuffer allowed,
        int prescanWords, int prescanned, int wanted);

    /**
     * How many cells of an order hold {@code enough} photos that pass, or all; -1 where a place has no row.
     *
     * @param rows of each place [photos], read only with bits
     * @param starts [cells + 1]: the first place of each cell
     * @param rowBits a bit a row that passes, or null: all
     * @param placeBits the same by place, set in the cells that are probed
     * @param counts [cells] how many pass; below 0, until it is known
     */
    static native int probe(ByteBuffer rows, int photos, int[] starts, ByteBuffer rowBits, ByteBuffer placeBits,
        int[] counts, int[] order, int enough);

    /**
     * Pass 2: cosines by the bytes of candidates, as long as one may be among the {@code k} best.
     *
     * @param columns of each segment
     * @param shapes five of each segment: descriptor, offset of its records, photos, words W, candidates scored anyway
     * @param factors three: what a step of a projection and of a distance adds, how many of the best may be missed
     * @param residuals of the query, [D] each
     * @param places the candidates, ascending
     * @param distances of these; null where all are scored
     * @param cosines of all candidates of all segments, NaN where they are not known
     * @return 0, or s + 1 where the file of segment s ends before a record
     */
    static native int rescore(ByteBuffer[] columns, long[] shapes, double[] factors, double[][] residuals,
        int[][] places, int[][] distances, int k, float[] cosines);
}
