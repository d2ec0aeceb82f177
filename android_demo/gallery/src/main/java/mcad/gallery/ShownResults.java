package mcad.gallery;

import java.util.Collections;
import java.util.List;
import mcad.engine.SearchEngine;

/** The results that a grid shows, and its position, which survives a rotation of the screen. For the screen's thread. */
public final class ShownResults {
    private static final int NOWHERE = -1;

    private List<SearchEngine.Result> results = Collections.emptyList();
    /** Where the grid stood before the screen was turned, until the same is found again. */
    private int row;

    /** Nothing yet. */
    public ShownResults() {
        this(NOWHERE);
    }

    /** Nothing yet, on a screen that was recreated, with its saved {@link #row}. */
    public ShownResults(int row) {
        this.row = row;
    }

    /** To be kept with the screen; {@code first} is what the grid shows first now. */
    public int row(int first) {
        return row == NOWHERE ? first : row;
    }

    /** Show what was found; the row at which the grid is to stand. */
    public int show(SearchEngine.Found found) {
        results = found.results();
        int at = Math.max(row, 0);
        row = NOWHERE;
        return at;
    }

    public void clear() {
        results = Collections.emptyList();
    }

    public List<SearchEngine.Result> results() {
        return results;
    }
}
