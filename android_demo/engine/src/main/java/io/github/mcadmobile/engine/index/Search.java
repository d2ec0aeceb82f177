package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/** Searches in two passes, both in {@link Kernel}: find the codes nearest to the query's, then score their photos. */
final class Search {
    private static final double NS_PER_MS = 1e6;

    private final List<LiveSegment> segments;
    /** The photos of each segment that may be found; null until needed, if there is no filter. */
    private final FilteredPlaces[] filtered;

    /** Searches all live photos. */
    Search(List<LiveSegment> segments) {
        this(segments, new FilteredPlaces[segments.size()]);
    }

    Search(List<LiveSegment> segments, FilteredPlaces[] filtered) {
        this.segments = segments;
        this.filtered = filtered;
    }

    /** The {@code k} photos nearest to a rotated query of length 1. {@code exact}: score every photo. */
    Hits search(float[] rotated, int k, boolean exact) throws IOException {
        long started = System.nanoTime();
        Candidates[] candidates = scan(rotated, k, exact);
        long scannedAt = System.nanoTime();
        long[] order = order(rescore(rotated, candidates, k));
        float[] scores = new float[Math.min(k, order.length)];
        for (int i = 0; i < scores.length; i++) {
            scores[i] = scoreOf(order[i]);
        }
        String[] paths = paths(candidates, order, scores.length);
        return new Hits(paths, scores, (scannedAt - started) / NS_PER_MS, (System.nanoTime() - scannedAt) / NS_PER_MS);
    }

    /** Pass 1: the places of each segment that pass 2 may score. */
    Candidates[] scan(float[] rotated, int k, boolean exact) throws IOException {
        Candidates[] candidates = new Candidates[segments.size()];
        for (int s = 0; s < candidates.length; s++) {
            candidates[s] = scan(s, rotated, k, exact);
        }
        return candidates;
    }

    private Candidates scan(int s, float[] rotated, int k, boolean exact) throws IOException {
        LiveSegment live = segments.get(s);
        Segment segment = live.segment();
        segment.file.checkSize();
        int photos = filtered(s).count();
        int count = live.candidates().of(photos, k);
        if (exact || count >= photos || segment.scanned == 0) {
            return new Candidates(filtered[s].all(), null, 0);
        }
        long[] query = new long[3 * segment.scanned / 64];
        double step = Kernel.quantize(segment.bitWeights, rotated, query);
        int[] spans = spans(live, filtered[s], rotated, k);
        Prescan prescan = live.prescan();
        int words = prescan == null ? 0 : prescan.bits() / 64;
        int prescanned = prescan == null ? 0 : Math.max(count, prescan.candidates().of(photos, k));
        int[] found = Kernel.nearest(segment.columnBytes, segment.photos, query, spans, filtered[s].allowed(),
            words, prescanned, count);
        int half = found.length / 2;
        return new Candidates(
            Arrays.copyOf(found, half), Arrays.copyOfRange(found, half, found.length), step);
    }

    /** The photos of a segment that may be found. */
    FilteredPlaces filtered(int s) {
        if (filtered[s] == null) {
            filtered[s] = FilteredPlaces.live(segments.get(s));
        }
        return filtered[s];
    }

    /** The cosines of rows of a segment with a rotated query. */
    static float[] cosines(LiveSegment live, float[] rotated, int[] rows) throws IOException {
        if (rows.length == 0) {
            return new float[0];
        }
        long[] order = new long[rows.length];
        for (int i = 0; i < rows.length; i++) {
            order[i] = (long) live.segment().places.of(rows[i]) << 32 | i;
        }
        Arrays.sort(order);
        int[] places = Arrays.stream(order).mapToInt(key -> (int) (key >> 32)).toArray();
        Candidates[] all = {new Candidates(places, null, 0)};
        float[] found = new Search(List.of(live)).rescore(rotated, all, rows.length);
        float[] cosines = new float[rows.length];
        for (int i = 0; i < rows.length; i++) {
            cosines[(int) order[i]] = found[i];
        }
        return cosines;
    }

    /** The places that a scan reads, as from, until, from, ...: the nearest cells that hold enough, or all. */
    static int[] spans(LiveSegment live, FilteredPlaces filtered, float[] rotated, int k) throws IOException {
        if (live.cells() == null) {
            return new int[] {0, live.segment().photos};
        }
        int[] order = new int[live.segment().places.cells()];
        Kernel.orderCells(rotated, live.segment().centroids, order);
        return filtered.spans(order, live.cells().inCells(filtered.count(), k));
    }

    /** Pass 2: cosines of all candidates, segment by segment; NaN if not among the best. */
    float[] rescore(float[] rotated, Candidates[] candidates, int k) throws IOException {
        int count = candidates.length;
        ByteBuffer[] columns = new ByteBuffer[count];
        long[] shapes = new long[4 * count];
        double[] factors = new double[2 * count];
        double[][] residuals = new double[count][];
        int[][] places = new int[count][];
        int[][] distances = new int[count][];
        int all = 0;
        for (int s = 0; s < count; s++) {
            Segment segment = segments.get(s).segment();
            columns[s] = segment.columnBytes;
            residuals[s] = new double[rotated.length];
            places[s] = candidates[s].places();
            distances[s] = candidates[s].distances();
            all += places[s].length;
            long[] shape = {segment.file.descriptor(), segment.recordsAt(), segment.photos, segment.scanned / 64};
            System.arraycopy(shape, 0, shapes, 4 * s, 4);
            factors[2 * s] = Kernel.split(rotated, segment.axis, residuals[s]);
            factors[2 * s + 1] = candidates[s].step();
        }
        float[] cosines = new float[all];
        int failed = Kernel.rescore(columns, shapes, factors, residuals, places, distances, k, cosines);
        if (failed > 0) {
            SegmentFile file = segments.get(failed - 1).segment().file;
            file.checkSize();
            throw file.unreadable();
        }
        return cosines;
    }

    /** Keys of the scored photos, best first: by descending score, then by position. */
    private static long[] order(float[] cosines) {
        long[] keys = new long[cosines.length];
        int known = 0;
        for (int position = 0; position < cosines.length; position++) {
            if (!Float.isNaN(cosines[position])) {
                int bits = Float.floatToIntBits(cosines[position]);
                keys[known++] = ~(long) (bits ^ (bits >> 31 & Integer.MAX_VALUE)) << 32 | position;
            }
        }
        long[] sorted = Arrays.copyOf(keys, known);
        Arrays.sort(sorted);
        return sorted;
    }

    private static float scoreOf(long key) {
        int ascending = (int) (~key >> 32);
        return Float.intBitsToFloat(ascending ^ (ascending >> 31 & Integer.MAX_VALUE));
    }

    /** The paths of the first {@code count} photos in order. */
    private String[] paths(Candidates[] candidates, long[] order, int count) throws IOException {
        String[] paths = new String[count];
        int start = 0;
        for (int s = 0; s < candidates.length; s++) {
            int[] places = candidates[s].places();
            int[] chosen = new int[count];
            int[] ranks = new int[count];
            int found = 0;
            for (int rank = 0; rank < count; rank++) {
                int at = (int) order[rank] - start;
                if (at >= 0 && at < places.length) {
                    chosen[found] = places[at];
                    ranks[found++] = rank;
                }
            }
            String[] own = segments.get(s).segment().pathsAt(Arrays.copyOf(chosen, found));
            for (int i = 0; i < found; i++) {
                paths[ranks[i]] = own[i];
            }
            start += places.length;
        }
        return paths;
    }
}
