package mcad.gallery;

/**
 * What a search screen says while it shows no results: of access, of the index, of a run. The words are the app's.
 *
 * @param panel what takes the place of the photos; NONE leaves it to them
 * @param action what the panel's button does
 * @param line what stands above the photos
 */
public record Home(Panel panel, Action action, Line line) {
    /** What there is to say at length. */
    public enum Panel { NONE, WELCOME, DENIED, NOT_INDEXED, NO_PHOTOS, NONE_READABLE, FAILED }

    /** What a button, or "Index now", leads to. */
    public enum Action { NONE, ASK_FOR_ACCESS, SETTINGS, INDEX, TRY_AGAIN }

    /** What there is to say in a line. */
    public enum Line { NONE, LOOKING, PROGRESS, RESTING, SEARCHABLE, LEFT, FAILED }

    /**
     * The state of a screen.
     *
     * @param refused whether Android would not ask for access again
     * @param photos how many can be searched
     */
    public static Home of(PhotoAccess.State access, boolean refused, Indexing indexing, int photos) {
        if (access == PhotoAccess.State.NONE) {
            return new Home(refused ? Panel.DENIED : Panel.WELCOME, indexNow(access, refused), Line.NONE);
        }
        if (indexing.running()) {
            return new Home(Panel.NONE, Action.NONE, line(indexing));
        }
        if (indexing.failure() != null) {
            return photos > 0 ? new Home(Panel.NONE, Action.NONE, Line.FAILED)
                : new Home(Panel.FAILED, Action.TRY_AGAIN, Line.NONE);
        }
        if (photos > 0) {
            boolean left = indexing.isCounted() && indexing.left() > 0;
            return new Home(Panel.NONE, Action.NONE, left ? Line.LEFT : Line.SEARCHABLE);
        }
        if (indexing.isCounted() && indexing.total() == 0) {
            return new Home(Panel.NO_PHOTOS, Action.INDEX, Line.NONE);
        }
        return new Home(indexing.skipped() > 0 ? Panel.NONE_READABLE : Panel.NOT_INDEXED, Action.INDEX, Line.NONE);
    }

    private static Line line(Indexing indexing) {
        if (!indexing.isCounted() || indexing.total() == 0) {
            return Line.LOOKING;
        }
        return indexing.resting() ? Line.RESTING : Line.PROGRESS;
    }

    /** What "Index now" leads to: without access, to being asked for it. */
    public static Action indexNow(PhotoAccess.State access, boolean refused) {
        if (access != PhotoAccess.State.NONE) {
            return Action.INDEX;
        }
        return refused ? Action.SETTINGS : Action.ASK_FOR_ACCESS;
    }
}
