package io.github.mcadmobile.engine.index;

/**
 * The photos of one commit that a search is restricted to: see {@link PhotoIndex#rows}. Valid while that commit is
 * open.
 */
public final class PassingRows {
    final Commit commit;
    /** The filter in C, which the commit closes. */
    final long filter;
    private final int count;

    PassingRows(Commit commit, long filter, int count) {
        this.commit = commit;
        this.filter = filter;
        this.count = count;
    }

    /** The number of passing photos. */
    public int count() {
        return count;
    }
}
