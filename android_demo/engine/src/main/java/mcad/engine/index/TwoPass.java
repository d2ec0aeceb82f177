package mcad.engine.index;

import java.io.IOException;
import java.util.Arrays;
import java.util.BitSet;
import java.util.List;

/**
 * Search in two passes: the codes nearest to the query's, then the cosines of the best by their bytes. Photos that do not
 * pass a filter are no candidates, so that as many are scored among those that do as in an index of them alone.
 */
final class TwoPass {
    private static final double MS = 1e6;

    private final List<LiveSegment> segments;
    private final int dim;
    /** Those that are looked at alone; null for all. */
    private final Rows within;
    private final int total;

    TwoPass(List<LiveSegment> segments, int dim, Rows within) {
        this.segments = segments;
        this.dim = dim;
        this.within = within;
        int sum = 0;
        for (int s = 0; s < segments.size(); s++) {
            sum += photos(s);
        }
        total = sum;
    }

    /** How many photos of a segment there are to find. */
    private int photos(int segment) {
        return within == null ? segments.get(segment).live() : within.count(segment);
    }

    /** How many rows the first pass takes by their codes alone. Measured: see docs/index-format.md. */
    private int scanned(int k) {
        return Math.max(1000 + total / 200, 100 * k);
    }

    /** How many of those, the best by estimate, the second pass scores by their bytes. */
    private int rescored(int k) {
        return Math.max(400 + total / 2000, 20 * k);
    }

    /** The {@code k} live photos nearest to a rotated query of length 1. {@code exact}: every photo is scored. */
    Hits search(float[] rotated, int k, boolean exact) throws IOException {
        long started = System.nanoTime();
        Codes.Query[] queries = new Codes.Query[segments.size()];
        for (int i = 0; i < queries.length; i++) {
            queries[i] = new Codes.Query(rotated, segments.get(i).segment().axis);
        }
        int[][] chosen = exact || total <= rescored(k) ? allRows() : scan(queries, k);
        long scannedAt = System.nanoTime();
        Hits best = rescore(queries, chosen, k);
        double scanMs = (scannedAt - started) / MS;
        return new Hits(best.paths(), best.scores(), scanMs, (System.nanoTime() - scannedAt) / MS);
    }

    private int[][] allRows() {
        int[][] rows = new int[segments.size()][];
        for (int s = 0; s < rows.length; s++) {
            LiveSegment live = segments.get(s);
            rows[s] = new int[photos(s)];
            int count = 0;
            if (within != null) {
                BitSet passing = within.of(s);
                for (int row = passing.nextSetBit(0); row >= 0; row = passing.nextSetBit(row + 1)) {
                    rows[s][count++] = row;
                }
                continue;
            }
            for (int row = 0; row < live.segment().photos; row++) {
                if (!live.isDeleted(row)) {
                    rows[s][count++] = row;
                }
            }
        }
        return rows;
    }

    /** For each segment its rows, ascending, that the second pass is to score. */
    private int[][] scan(Codes.Query[] queries, int k) {
        int[][] candidates = new int[segments.size()][];
        float[][] estimates = new float[segments.size()][];
        int count = 0;
        for (int s = 0; s < candidates.length; s++) {
            LiveSegment live = segments.get(s);
            // Each segment gives as many as if all the others were like it, but not more than it has.
            long share = (long) scanned(k) * photos(s) / total + 200 + k;
            candidates[s] = new Scan(live, queries[s].code, within == null ? null : within.of(s))
                .nearest((int) Math.min(share, photos(s)));
            estimates[s] = estimate(live.segment(), queries[s], candidates[s]);
            count += candidates[s].length;
        }
        float[] ordered = new float[count];
        int at = 0;
        for (float[] part : estimates) {
            System.arraycopy(part, 0, ordered, at, part.length);
            at += part.length;
        }
        Arrays.sort(ordered);
        int wanted = Math.min(rescored(k), count);
        float least = ordered[count - wanted];
        int ties = 0;
        for (int i = count - wanted; i < count && ordered[i] == least; i++) {
            ties++;
        }
        for (int s = 0; s < candidates.length; s++) {
            int kept = 0;
            for (int i = 0; i < candidates[s].length; i++) {
                float estimate = estimates[s][i];
                if (estimate > least || estimate == least && ties-- > 0) {
                    candidates[s][kept++] = candidates[s][i];
                }
            }
            candidates[s] = Arrays.copyOf(candidates[s], kept);
        }
        return candidates;
    }

    /** a * along + sqrt(pi / 2D) * |z| * sum r_i sign(z_i): what a cosine is likely to be, from code and along. */
    private float[] estimate(Segment segment, Codes.Query query, int[] rows) {
        float[] sums = signedSums(query.rest);
        byte[] code = new byte[dim / 8];
        double unit = Math.sqrt(Math.PI / 2 / dim);
        float[] estimates = new float[rows.length];
        for (int i = 0; i < rows.length; i++) {
            segment.code(rows[i], code);
            float sum = 0;
            for (int b = 0; b < code.length; b++) {
                sum += sums[b << 8 | code[b] & 0xff];
            }
            double share = segment.along.get(rows[i]) * Codes.ALONG_UNIT;
            double length = Math.sqrt(Math.max(0, 1 - share * share));
            estimates[i] = (float) (query.along * share + unit * length * sum);
        }
        return estimates;
    }

    /** For each byte of a code and each value of it: the sum of r_i where the bit is 1, of -r_i where it is 0. */
    private static float[] signedSums(float[] rest) {
        float[] sums = new float[rest.length / 8 * 256];
        for (int i = 0; i < sums.length; i++) {
            for (int bit = 0; bit < 8; bit++) {
                float r = rest[(i >> 8) * 8 + bit];
                sums[i] += (i >> bit & 1) != 0 ? r : -r;
            }
        }
        return sums;
    }

    private Hits rescore(Codes.Query[] queries, int[][] chosen, int k) throws IOException {
        int count = 0;
        for (int[] rows : chosen) {
            count += rows.length;
        }
        float[] scores = new float[count];
        long[] order = new long[count];
        Codes.Row row = new Codes.Row(dim);
        int at = 0;
        for (int s = 0; s < chosen.length; s++) {
            Segment segment = segments.get(s).segment();
            boolean dense = chosen[s].length > segment.photos / 8;
            for (int index : chosen[s]) {
                segment.code(index, row.code);
                if (dense) {
                    segment.magnitudesInOrder(index, row.magnitudes);
                } else {
                    segment.magnitudes(index, row.magnitudes);
                }
                scores[at] = queries[s].score(
                    row.code, row.magnitudes, segment.along.get(index), segment.scales.get(index));
                order[at] = key(scores[at], at);
                at++;
            }
        }
        Arrays.sort(order);
        int found = Math.min(k, count);
        String[] paths = new String[found];
        float[] best = new float[found];
        for (int i = 0; i < found; i++) {
            int position = (int) order[i];
            best[i] = scores[position];
            paths[i] = pathOf(chosen, position);
        }
        return new Hits(paths, best, 0, 0);
    }

    /** Sorts by falling score, then by position. */
    private static long key(float score, int position) {
        int bits = Float.floatToIntBits(score);
        int ascending = bits ^ (bits >> 31 & Integer.MAX_VALUE);
        return ~(long) ascending << 32 | position;
    }

    private String pathOf(int[][] chosen, int position) throws IOException {
        int at = position;
        int s = 0;
        while (at >= chosen[s].length) {
            at -= chosen[s++].length;
        }
        return PathBytes.toString(segments.get(s).segment().paths.at(chosen[s][at]));
    }
}
