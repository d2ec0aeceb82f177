package mcad.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;

/** A segment of the format before this one, mcad-index/2, whose records are put together as they are read. */
final class PreviousSegment extends Segment {
    private static final int CODES = 1;
    private static final int ALONG = 2;
    private static final int SCALES = 3;
    private static final int MAGNITUDES = 4;

    /** As {@link Segment#open}. */
    static Segment open(Path path) throws IOException {
        SegmentFile file = new SegmentFile(path);
        try {
            return new PreviousSegment(file);
        } catch (IOException | RuntimeException error) {
            file.close();
            throw error;
        }
    }

    private PreviousSegment(SegmentFile file) throws IOException {
        super(file, Layout.PREVIOUS);
    }

    @Override
    void record(int index, byte[] out) throws IOException {
        records(index, 1, out);
    }

    @Override
    void records(int index, int count, byte[] out) throws IOException {
        ByteBuffer magnitudes = some(MAGNITUDES, dim, index, count);
        ByteBuffer codes = some(CODES, dim / 8, index, count);
        ByteBuffer along = some(ALONG, 2, index, count);
        ByteBuffer scales = some(SCALES, 2, index, count);
        for (int at = 0; at < count * record; at += record) {
            magnitudes.get(out, at, dim);
            codes.get(out, at + dim, dim / 8);
            along.get(out, at + dim + dim / 8, 2);
            scales.get(out, at + dim + dim / 8 + 2, 2);
        }
    }
}
