package io.github.mcadmobile.engine.words;

import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** One ranking of photos by what they show and by their words. As mcad_mobile/engine/words/ranking.py, which says why. */
public final class Ranking {
    private static final double WHOLE = 12;
    private static final int POWER = 3;
    private static final Set<String> FUNCTION_WORDS = Set.of(("a am an and at au auf aus aux by con d das de del dem den der "
        + "des die du e ein eine einem el en et for from im in is la las le les los mit my of on or the to un una une und "
        + "vom von with y zu zum zur").split(" "));

    private Ranking() {}

    /**
     * What the words of a photo add to its cosine with a query, whose cosines with typical photos have the standard
     * deviation {@code spread}.
     */
    public static double gain(double share, double spread) {
        return WHOLE * spread * Math.pow(share, POWER);
    }

    /** A query's terms, each once, without function words; with only these, all. */
    public static List<String> termsToFind(String query) {
        List<String> distinct = new ArrayList<>(new LinkedHashSet<>(Folding.fold(query)));
        List<String> found = new ArrayList<>(distinct);
        found.removeAll(FUNCTION_WORDS);
        return found.isEmpty() ? distinct : found;
    }
}
