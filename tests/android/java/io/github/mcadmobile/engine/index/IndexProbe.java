package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.NativeLibrary;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Lets the probe in at what the index keeps to itself. */
public final class IndexProbe {
    private IndexProbe() {}

    /** From so many photos on an index has cells, whatever they save. */
    public static void cellsFrom(PhotoIndex index, int photos) {
        index.cellsFrom = photos;
        index.cellsAtAnyCost = true;
    }

    /**
     * Cells of 4 and 6 photos of which the even rows pass, probed last cell first: how many cells that took, and the
     * counts after it.
     */
    public static List<Object> probed(int[] counts, int enough) throws IOException {
        NativeLibrary.load();
        ByteBuffer rows = ByteBuffer.allocateDirect(40).order(ByteOrder.LITTLE_ENDIAN);
        for (int row = 0; row < 10; row++) {
            rows.putInt(4 * row, row);
        }
        ByteBuffer even = ByteBuffer.allocateDirect(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 0x155);
        int took = Kernel.probe(rows, 10, new int[] {0, 4, 10}, even, ByteBuffer.allocateDirect(8), counts,
            new int[] {1, 0}, enough);
        return List.of(took, counts[0], counts[1]);
    }

    /** How the kernels refuse a segment that another took the place of while it was opened, and one that is gone. */
    public static List<String> replaced(Path path) throws IOException {
        NativeLibrary.load();
        List<String> refused = new ArrayList<>();
        try (SegmentFile file = new SegmentFile(path)) {
            for (int i = 0; i < 2; i++) {
                try {
                    file.openForKernel(0);
                } catch (IOException error) {
                    refused.add(error instanceof NoSuchFileException ? "gone" : error.getMessage());
                }
                Files.deleteIfExists(path);
            }
        }
        return refused;
    }

    /** What a search says where the file of the last segment ends before its records, as only the kernels see it. */
    public static String cut(Path directory) throws IOException {
        PhotoIndex.Commit commit = PhotoIndex.load(directory);
        Segment last = commit.segments().get(commit.segments().size() - 1).segment();
        byte[] start = Arrays.copyOf(Files.readAllBytes(last.file.path), (int) last.recordsAt());
        Files.delete(last.file.path);
        Files.write(last.file.path, start);
        Kernel.close(last.file.descriptor());
        last.file.openForKernel((int) last.headerCrc);
        float[] query = new float[last.dim];
        query[0] = 1;
        try {
            new Search(commit.segments()).search(query, 5, true);
            return "nothing";
        } catch (McadException damaged) {
            return damaged.message;
        } finally {
            PhotoIndex.closeAll(commit.segments());
        }
    }

    /** Write an index again as it is, deleted rows too, out of what is read of it. */
    public static void rewrite(Path from, Path to) throws IOException {
        PhotoIndex.Commit commit = PhotoIndex.load(from);
        Files.createDirectories(to);
        for (int s = 0; s < commit.segments().size(); s++) {
            LiveSegment live = commit.segments().get(s);
            rewrite(live, to.resolve(commit.manifest().segments().get(s).file()));
        }
        commit.manifest().write(to);
        PhotoIndex.closeAll(commit.segments());
    }

    private static void rewrite(LiveSegment live, Path to) throws IOException {
        Segment segment = live.segment();
        char[] cells = segment.places.areRows() ? null : new char[segment.photos];
        for (int row = 0; cells != null && row < cells.length; row++) {
            cells[row] = (char) segment.places.cellOf(segment.places.of(row));
        }
        byte[] whole = new byte[Records.size(segment.dim)];
        try (SegmentWriter out = new SegmentWriter(to, segment.axis, Tuning.of(live), cells, segment.photos)) {
            for (int row = 0; row < segment.photos; row++) {
                Records.read(segment, segment.places.of(row), false, whole, 0);
                out.add(segment.paths.at(row), whole, 0, segment.times.get(row), segment.stamps.get(2 * row),
                    segment.stamps.get(2 * row + 1));
            }
            out.finish(segment.axisPhotos);
        }
    }

    /** How many photos the scan of a query looks at. */
    public static int scanned(PhotoIndex index, float[] query, int k) throws IOException {
        PhotoIndex.Commit commit = PhotoIndex.load(index.directory);
        int scanned = 0;
        for (LiveSegment live : commit.segments()) {
            int[] spans = Search.spans(live, FilteredPlaces.live(live), Kernel.rotated(query), k);
            for (int i = 0; i < spans.length; i += 2) {
                scanned += spans[i + 1] - spans[i];
            }
        }
        PhotoIndex.closeAll(commit.segments());
        return scanned;
    }
}
