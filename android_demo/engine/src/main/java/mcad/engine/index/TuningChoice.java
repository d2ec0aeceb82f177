package mcad.engine.index;

import java.util.ArrayList;
import java.util.List;

/** Chooses the cheapest tuning (docs/index-format.md) by the estimated cost of a search on a server core. */
final class TuningChoice {
    private static final int MIN_TUNED = 256;
    private static final int SAMPLE_NUMBERS = 1 << 21; // half of Python's: phones have less memory
    private static final int MIN_SAMPLE = 2048;
    private static final int K = SampleQueries.K;
    private static final double NS_BYTE = 0.1;
    private static final double NS_PHOTO = 1500;
    private static final double NS_PHOTO_BYTE = 0.6;
    private static final double NS_PRESCANNED = 40;
    private static final double NS_WORD = 60;
    private static final double NS_CELLS = 150_000;
    private static final double NS_CELL_DIM = 0.1;
    private static final double PRESCAN_FACTOR = 1.5;
    private static final double COST_TOLERANCE = 1.05;
    /** Texts may need more candidates than photos; pass 2 stops early anyway. */
    private static final double CANDIDATE_FACTOR = 2;
    private static final int PHOTOS_A_CELL = 50;
    private static final int MIN_CELLS = 16;
    private static final int MAX_CELLS = 256;
    /** The sample's photos are nearer to the centroids computed from them than other photos are. */
    private static final double CELLS_FACTOR = 1.5;

    private final int dim;
    private final int photos;
    private final Cells cells;
    private final CandidateCount cellCandidates;

    private TuningChoice(int dim, int photos, Cells cells, CandidateCount cellCandidates) {
        this.dim = dim;
        this.photos = photos;
        this.cells = cells;
        this.cellCandidates = cellCandidates;
    }

    static int sampleSize(int dim) {
        return Math.max(SAMPLE_NUMBERS / dim, MIN_SAMPLE);
    }

    /** Choose the tuning for {@code photos} photos from a sample of their rotated embeddings. */
    static Tuning of(List<float[]> sample, float[] axis, int photos, CellRule rule) {
        int dim = axis.length;
        if (sample.size() < MIN_TUNED || dim < 64) {
            return Tuning.none();
        }
        BitWeights.Fit fit = new BitWeights.Fit(sample, axis);
        SampleQueries queries = new SampleQueries(sample, axis, fit.codes);
        List<Tuning> tunings = tunings(fit, queries);
        TuningChoice withoutCells = new TuningChoice(dim, photos, null, null);
        int count = photos < rule.photos() ? 0 : cells(sample.size());
        if (count == 0) {
            return withoutCells.choose(tunings);
        }
        Cells cells = Cells.of(sample, axis, count);
        CandidateCount candidates = scale(CELLS_FACTOR, queries.fitToCells(cells, cells.of(sample, axis)));
        TuningChoice withCells = new TuningChoice(dim, photos, cells, candidates);
        boolean worthIt = withCells.leastCost(tunings) < rule.worth() * withoutCells.leastCost(tunings);
        return (worthIt ? withCells : withoutCells).choose(tunings);
    }

    /** The number of cells that a sample suffices for; 0 for none. */
    private static int cells(int sample) {
        int count = Math.min(MAX_CELLS, sample / PHOTOS_A_CELL);
        return count < MIN_CELLS ? 0 : count;
    }

    /** Tunings that scan a quarter, half, three quarters and all of the bits, each also after a prescan of fewer. */
    private static List<Tuning> tunings(BitWeights.Fit fit, SampleQueries queries) {
        List<Tuning> tunings = new ArrayList<>();
        List<Prescan> narrower = new ArrayList<>();
        for (int quarters = 1; quarters <= 4; quarters++) {
            int scanned = 64 * Math.max(fit.most * quarters / 256, 1);
            float[] bitWeights = fit.weights(scanned);
            CandidateCount candidates = queries.fitToEstimates(bitWeights, scanned);
            tunings.add(new Tuning(bitWeights, candidates, null, null, null));
            for (Prescan prescan : narrower) {
                tunings.add(new Tuning(bitWeights, candidates, prescan, null, null));
            }
            narrower.add(new Prescan(scanned, scale(PRESCAN_FACTOR, candidates)));
        }
        return tunings;
    }

    private double leastCost(List<Tuning> tunings) {
        double least = Double.POSITIVE_INFINITY;
        for (Tuning tuning : tunings) {
            least = Math.min(least, cost(tuning));
        }
        return least;
    }

    /** The fewest bits whose cost is near the minimum, and the cheapest way to scan them. */
    private Tuning choose(List<Tuning> tunings) {
        double least = leastCost(tunings);
        Tuning chosen = null;
        for (Tuning tuning : tunings) {
            boolean cheap = cost(tuning) <= COST_TOLERANCE * least;
            if (cheap && (chosen == null || chosen.bitWeights() == tuning.bitWeights() && cost(tuning) < cost(chosen))) {
                chosen = tuning;
            }
        }
        CandidateCount candidates = scale(CANDIDATE_FACTOR, chosen.candidates());
        return new Tuning(chosen.bitWeights(), candidates, chosen.prescan(), cells, cellCandidates);
    }

    /** The time of a search, in ns. */
    private double cost(Tuning tuning) {
        int scanned = tuning.bitWeights().length / dim;
        int bits = tuning.prescan() == null ? scanned : tuning.prescan().bits();
        double cost = tuning.candidates().of(photos, K) * (NS_PHOTO + dim * NS_PHOTO_BYTE);
        if (tuning.prescan() != null) {
            cost += tuning.prescan().candidates().of(photos, K) * (NS_PRESCANNED + (scanned - bits) / 64 * NS_WORD);
        }
        if (cells == null) {
            return cost + photos * (bits / 8.0) * NS_BYTE;
        }
        double order = NS_CELLS + cells.count * dim * NS_CELL_DIM;
        return cost + order + cellCandidates.of(photos, K) * (bits / 8.0) * NS_BYTE;
    }

    private static CandidateCount scale(double factor, CandidateCount candidates) {
        return new CandidateCount(factor * candidates.factor(), candidates.exponent(), candidates.growth());
    }
}
