package mcad.gallery;

import java.util.Collections;
import java.util.List;
import mcad.engine.SearchEngine;

/** The results that a grid shows, and its position, which survive a rotation of the screen. For the screen's thread. */
public final class ShownResults {
    private static final int NOWHERE = -1;

    private List<SearchEngine.Result> found = Collections.emptyList();
    private int count;
    private boolean all;
    /** Where it stood before the screen was turned, until the same is found again. */
    private int row;

    /** Nothing yet. */
    public ShownResults() {
        row = NOWHERE;
    }

    /** Nothing yet, on a screen that was recreated, with its saved {@link #row} and {@link #isAll}. */
    public ShownResults(int row, boolean all) {
        this.row = row;
        this.all = all;
    }

    /** To be kept with the screen; {@code first} is what the grid shows first now. */
    public int row(int first) {
        return row == NOWHERE ? first : row;
    }

    /** Whether the user wanted the less likely ones, too. */
    public boolean isAll() {
        return all;
    }

    /** Show what was found, the matches or what was shown before; the row at which the grid is to stand. */
    public int show(SearchEngine.Found now) {
        all &= row != NOWHERE; // another search begins with its matches
        found = now.results();
        count = all ? found.size() : now.matches();
        int at = Math.max(row, 0);
        row = NOWHERE;
        return at;
    }

    /** The less likely ones, too. */
    public void showAll() {
        all = true;
        count = found.size();
    }

    public void clear() {
        found = Collections.emptyList();
        count = 0;
    }

    /** Whether there are less likely ones behind those that are shown. */
    public boolean hasMore() {
        return count < found.size();
    }

    public List<SearchEngine.Result> results() {
        return found.subList(0, count);
    }
}
