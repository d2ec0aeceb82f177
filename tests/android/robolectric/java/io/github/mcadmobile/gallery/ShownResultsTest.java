package io.github.mcadmobile.gallery;

import static org.junit.Assert.assertEquals;

import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.words.Match;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/** Where results become less near. */
public final class ShownResultsTest {
    /** Of results with scores; below 0, of photos that were found by their words, with scores of the same size. */
    private static int lessNear(double... scores) {
        List<SearchEngine.Result> results = new ArrayList<>();
        for (double score : scores) {
            List<Match> matched = score < 0 ? List.of(new Match("text", List.of("a"), "a", List.of())) : List.of();
            results.add(new SearchEngine.Result("photo", (float) Math.abs(score), List.of(), Moments.NONE, List.of(), matched));
        }
        ShownResults shown = new ShownResults();
        shown.show(new SearchEngine.Found(results, Map.of(), false, List.of()));
        return shown.lessNear();
    }

    @Test
    public void photosAreLessNearBehindTheSteepestFallOfScores() {
        assertEquals(3, lessNear(0.31, 0.30, 0.29, 0.2, 0.19, 0.18, 0.17));
        assertEquals(1, lessNear(0.4, 0.2, 0.19, 0.18, 0.15, 0.14, 0.13));
    }

    @Test
    public void scoresThatFallEvenlyHaveNoSuchPlace() {
        assertEquals(5, lessNear(0.5, 0.4, 0.3, 0.2, 0.1));
        assertEquals(4, lessNear(0, 0, 0, 0));
        assertEquals(1, lessNear(0.5));
        assertEquals(0, lessNear());
    }

    @Test
    public void photosThatWereFoundByTheirWordsAreNear() {
        assertEquals(3, lessNear(-0.3, -0.05, 0.3, 0.1, 0.1, 0.1, 0.09));
        assertEquals(3, lessNear(-0.3, -0.05, -0.04));
    }
}
