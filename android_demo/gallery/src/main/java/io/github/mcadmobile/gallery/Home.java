package io.github.mcadmobile.gallery;

/**
 * The state of a search screen without results, from access, index and run. The app provides the texts.
 *
 * @param panel the message shown in place of photos; NONE shows photos
 * @param action what the panel's button does
 * @param line the status line above the photos
 */
public record Home(Panel panel, Action action, Line line) {
    public enum Panel { NONE, WELCOME, DENIED, NOT_INDEXED, NO_PHOTOS, NONE_READABLE, FAILED }

    /** The action of the button, or of "Index now". */
    public enum Action { NONE, ASK_FOR_ACCESS, SETTINGS, INDEX, TRY_AGAIN }

    /** A one-line status. */
    public enum Line { NONE, LOOKING, PROGRESS, RESTING, SEARCHABLE, LEFT, FAILED }

    /**
     * The state of a screen.
     *
     * @param refused whether Android no longer shows its permission dialog
     * @param photos the number of searchable photos
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
            return new Home(Panel.NO_PHOTOS, Action.NONE, Line.NONE);
        }
        return new Home(indexing.skipped() > 0 ? Panel.NONE_READABLE : Panel.NOT_INDEXED, Action.INDEX, Line.NONE);
    }

    private static Line line(Indexing indexing) {
        if (!indexing.isCounted() || indexing.total() == 0) {
            return Line.LOOKING;
        }
        return indexing.resting() ? Line.RESTING : Line.PROGRESS;
    }

    /** The action of "Index now"; without access, ask for it first. */
    public static Action indexNow(PhotoAccess.State access, boolean refused) {
        if (access != PhotoAccess.State.NONE) {
            return Action.INDEX;
        }
        return refused ? Action.SETTINGS : Action.ASK_FOR_ACCESS;
    }
}
