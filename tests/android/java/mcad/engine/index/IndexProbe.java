package mcad.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import mcad.engine.McadException;
import mcad.engine.base.JsonFields;
import mcad.engine.base.NativeLibrary;

/** Lets the probe in at what the index keeps to itself. */
public final class IndexProbe {
    private IndexProbe() {}

    /** From so many photos on an index has cells, whatever they save. */
    public static void cellsFrom(PhotoIndex index, int photos) {
        index.cellRule(new CellRule(photos, Double.POSITIVE_INFINITY));
    }

    /** From how many photos an index may have cells, and what share of a search's cost they may take. */
    public static List<Object> usualCells() {
        return List.of(CellRule.USUAL.photos(), CellRule.USUAL.worth());
    }

    /** The cells of places in a plane, among cells at (4, 0), (0, 4) and (-4, 0). */
    public static List<Object> nearestCells(int[]... places) {
        Cells.Nearest nearest = new Cells(new short[] {4, 0, 0, 4, -4, 0}, 2).new Nearest();
        List<Object> found = new ArrayList<>();
        for (int[] place : places) {
            found.add(nearest.to(place));
        }
        return found;
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

    /** How the kernels refuse a segment that another took the place of while it was opened. */
    public static String replaced(Path path) throws IOException {
        NativeLibrary.load();
        SegmentFile file = new SegmentFile(path);
        try {
            file.openForKernel(0);
            return "opened";
        } catch (IOException refused) {
            return refused.getMessage();
        } finally {
            file.close();
        }
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

    /** What is measured on a sample, and what is then chosen for each number of photos. */
    public static Map<String, Object> tunings(List<float[]> sample, float[] axis, List<Long> photos, int cellCount) {
        BitWeights.Fit fit = new BitWeights.Fit(sample, axis);
        SampleQueries queries = new SampleQueries(sample, axis, fit.codes);
        List<Object> counts = new ArrayList<>();
        for (int bits = 64; bits <= axis.length; bits += 64) {
            counts.add(numbers(queries.fitToEstimates(fit.weights(bits), bits)));
        }
        Cells cells = Cells.of(sample, axis, cellCount);
        List<Object> chosen = new ArrayList<>();
        for (long count : photos) {
            for (int cellsFrom : new int[] {Integer.MAX_VALUE, 1}) {
                Tuning tuning = TuningChoice.of(sample, axis, (int) count, new CellRule(cellsFrom, 1));
                int prescan = tuning.prescan() == null ? 0 : tuning.prescan().bits();
                boolean inCells = tuning.cells() != null;
                chosen.add(List.of(tuning.bitWeights().length / axis.length, prescan, inCells));
            }
        }
        CandidateCount held = queries.fitToCells(cells, cells.of(sample, axis));
        return JsonFields.of("counts", counts, "held", numbers(held), "chosen", chosen);
    }

    private static List<Object> numbers(CandidateCount count) {
        return List.of(count.factor(), count.exponent(), count.growth());
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
        char[] cells = segment.cells == null ? null : new char[segment.photos];
        for (int row = 0; cells != null && row < cells.length; row++) {
            cells[row] = (char) segment.places.cellOf(segment.places.of(row));
        }
        Codes.Row numbers = new Codes.Row(segment.dim);
        try (SegmentWriter out = new SegmentWriter(to, segment.axis, Tuning.of(live), cells, segment.photos)) {
            for (int row = 0; row < segment.photos; row++) {
                numbers.read(segment, segment.places.of(row), false);
                out.add(segment.paths.at(row), numbers, segment.times.get(row), segment.stamps.get(2 * row),
                    segment.stamps.get(2 * row + 1));
            }
            out.finish(segment.axisPhotos);
        }
    }

    /** How many photos of each segment pass 2 scores. */
    public static List<Object> scored(PhotoIndex index, float[] query, int k) throws IOException {
        PhotoIndex.Commit commit = PhotoIndex.load(index.directory);
        Search search = new Search(commit.segments());
        float[] rotated = Kernel.rotated(query);
        Candidates[] candidates = search.scan(rotated, k, false);
        float[] cosines = search.rescore(rotated, candidates, k);
        List<Object> scored = new ArrayList<>();
        int at = 0;
        for (Candidates ofSegment : candidates) {
            int known = 0;
            for (int end = at + ofSegment.places().length; at < end; at++) {
                known += Float.isNaN(cosines[at]) ? 0 : 1;
            }
            scored.add(known);
        }
        PhotoIndex.closeAll(commit.segments());
        return scored;
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
