package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.SearchEngine;
import java.util.Collections;
import java.util.List;

/** The results that a grid shows, and the row to scroll to for new ones. For the main thread. */
public final class ShownResults {
    private static final int NOWHERE = -1;
    /** Times the mean fall of scores: a fall that is steep. */
    private static final float STEEP = 3;

    private List<SearchEngine.Result> results = Collections.emptyList();
    /** The row to stay at, until the same search is answered again. */
    private int row;

    public ShownResults() {
        this(NOWHERE);
    }

    /** No results yet, on a recreated screen with its saved {@link #row}. */
    public ShownResults(int row) {
        this.row = row;
    }

    /** The row to save with the screen; {@code first} is the first visible row. */
    public int row(int first) {
        return row == NOWHERE ? first : row;
    }

    /** Keep the row for the same search, repeated after photos were deleted; {@code first} is the first visible row. */
    public void stay(int first) {
        row = row(first);
    }

    /** Replace the results; return the row to scroll to. */
    public int show(SearchEngine.Found found) {
        results = found.results();
        int at = Math.max(row, 0);
        row = NOWHERE;
        return at;
    }

    public void clear() {
        results = Collections.emptyList();
    }

    /**
     * The position from which on photos are less near to the query: where scores fall off most, behind those that were
     * found by their words. The number of results if no fall is steep.
     */
    public int lessNear() {
        int count = results.size();
        int at = count;
        float most = count < 2 ? 0 : STEEP * (results.get(0).score() - results.get(count - 1).score()) / (count - 1);
        for (int i = count - 1; i > 0 && results.get(i).matched().isEmpty(); i--) {
            float fall = results.get(i - 1).score() - results.get(i).score();
            if (fall > 0 && fall >= most) {
                most = fall;
                at = i;
            }
        }
        return at;
    }

    public List<SearchEngine.Result> results() {
        return results;
    }
}
