package mcad.engine.index;

import java.util.ArrayList;
import java.util.List;

/** What of all that could be scanned is the cheapest (docs/index-format.md), by what a search costs on a server's core. */
final class LensChoice {
    private static final int LEAST_PHOTOS = 256;
    private static final int SAMPLE_NUMBERS = 1 << 21; // half of Python's: phones have less memory
    private static final int LEAST_SAMPLE = 2048;
    private static final int K = Trial.K;
    private static final double NS_BYTE = 0.1;
    private static final double NS_PHOTO = 1500;
    private static final double NS_PHOTO_BYTE = 0.6;
    private static final double NS_LOOK = 40;
    private static final double NS_WORD = 60;
    private static final double NS_CELLS = 150_000;
    private static final double NS_CELL_DIM = 0.1;
    private static final double WIDER = 1.5;
    private static final double WORTH = 1.05;
    /** Words may be harder to place than photos, and what pass 2 leaves out costs little. */
    private static final double SPARE = 2;
    private static final int PHOTOS_A_CELL = 50;
    private static final int FEWEST_CELLS = 16;
    private static final int MOST_CELLS = 256;
    /** The sample's photos lie nearer to centroids that were taken of them than all others do. */
    private static final double CELLS_WIDER = 1.5;

    private final int dim;
    private final int photos;
    private final Cells cells;
    private final Reach cellReach;

    private LensChoice(int dim, int photos, Cells cells, Reach cellReach) {
        this.dim = dim;
        this.photos = photos;
        this.cells = cells;
        this.cellReach = cellReach;
    }

    static int sampleSize(int dim) {
        return Math.max(SAMPLE_NUMBERS / dim, LEAST_SAMPLE);
    }

    /** Choose for {@code photos} from a sample of rotated embeddings. */
    static Lens of(List<float[]> sample, float[] axis, int photos, CellRule rule) {
        int dim = axis.length;
        if (sample.size() < LEAST_PHOTOS || dim < 64) {
            return Lens.none();
        }
        Lens.Fit fit = new Lens.Fit(sample, axis);
        Trial trial = new Trial(sample, axis, fit.codes);
        List<Lens> ways = ways(fit, trial);
        LensChoice without = new LensChoice(dim, photos, null, null);
        int count = photos < rule.photos() ? 0 : cells(sample.size());
        if (count == 0) {
            return without.chosen(ways);
        }
        Cells cells = Cells.of(sample, axis, count);
        Reach reach = wider(CELLS_WIDER, trial.reach(cells, cells.of(sample, axis)));
        LensChoice within = new LensChoice(dim, photos, cells, reach);
        return (within.least(ways) < rule.worth() * without.least(ways) ? within : without).chosen(ways);
    }

    /** How many cells a sample tells apart; 0 for none. */
    private static int cells(int sample) {
        int count = Math.min(MOST_CELLS, sample / PHOTOS_A_CELL);
        return count < FEWEST_CELLS ? 0 : count;
    }

    /** A quarter, a half, three quarters and all of the bits, each also behind a scan of fewer. */
    private static List<Lens> ways(Lens.Fit fit, Trial trial) {
        List<Lens> ways = new ArrayList<>();
        List<First> narrower = new ArrayList<>();
        for (int quarters = 1; quarters <= 4; quarters++) {
            int scanned = 64 * Math.max(fit.most * quarters / 256, 1);
            float[] weights = fit.weights(scanned);
            Reach reach = trial.reach(weights, scanned);
            ways.add(new Lens(weights, reach, null, null, null));
            for (First first : narrower) {
                ways.add(new Lens(weights, reach, first, null, null));
            }
            narrower.add(new First(scanned, wider(WIDER, reach)));
        }
        return ways;
    }

    private double least(List<Lens> ways) {
        double least = Double.POSITIVE_INFINITY;
        for (Lens way : ways) {
            least = Math.min(least, cost(way));
        }
        return least;
    }

    /** The fewest bits that cost hardly more than the least, and the cheapest way to scan those. */
    private Lens chosen(List<Lens> ways) {
        double least = least(ways);
        Lens chosen = null;
        for (Lens way : ways) {
            boolean cheap = cost(way) <= WORTH * least;
            if (cheap && (chosen == null || chosen.weights() == way.weights() && cost(way) < cost(chosen))) {
                chosen = way;
            }
        }
        return new Lens(chosen.weights(), wider(SPARE, chosen.reach()), chosen.first(), cells, cellReach);
    }

    /** What a search takes, in ns. */
    private double cost(Lens way) {
        int scanned = way.weights().length / dim;
        int bits = way.first() == null ? scanned : way.first().bits();
        double cost = way.reach().candidates(photos, K) * (NS_PHOTO + dim * NS_PHOTO_BYTE);
        if (way.first() != null) {
            cost += way.first().reach().candidates(photos, K) * (NS_LOOK + (scanned - bits) / 64 * NS_WORD);
        }
        if (cells == null) {
            return cost + photos * (bits / 8.0) * NS_BYTE;
        }
        double order = NS_CELLS + cells.count * dim * NS_CELL_DIM;
        return cost + order + cellReach.candidates(photos, K) * (bits / 8.0) * NS_BYTE;
    }

    private static Reach wider(double times, Reach reach) {
        return new Reach(times * reach.factor(), reach.exponent(), reach.growth());
    }
}
