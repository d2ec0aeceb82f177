package mcad.engine.gallery;

import java.io.IOException;
import java.util.function.LongSupplier;
import java.util.function.ToIntFunction;
import mcad.engine.index.PhotoIndex;

/**
 * A new student, the old photos: after an update photos are found by the student of before, until a run has embedded all
 * by the new one. When that is the case is told here, out of what the phone lists.
 */
final class Changeover {
    private static final String ALL = "";

    private final Installed installed;
    private final PhotoLibrary library;
    private final ToIntFunction<PhotoLibrary.Item> stamp;
    private final LongSupplier clock;
    private PhotoLibrary.Listing listing;

    /** {@code stamp} tells what an index would have of a photo today. */
    Changeover(Installed installed, PhotoLibrary library, ToIntFunction<PhotoLibrary.Item> stamp, LongSupplier clock) {
        this.installed = installed;
        this.library = library;
        this.stamp = stamp;
        this.clock = clock;
    }

    /** A run begins: whether the index of before means other photos by now, as the phone has numbered them anew. */
    boolean isStale(PhotoLibrary.Listing now) throws IOException {
        listing = now;
        Installed.Student before = installed.before();
        return before != null && !LibraryNotes.open(before.index()).renumbered(now.volumes()).isEmpty();
    }

    /**
     * A run has embedded all that is listed: whether that is all that the index of before holds. A few photos less are
     * gone; of many (a card that is out, a list that is not whole) it is believed when a run of an hour later says so, too.
     */
    boolean isComplete() throws IOException {
        Installed.Student before = installed.before();
        if (before == null || listing.items().isEmpty()) {
            return false;
        }
        try (PhotoIndex index = before.openIndex()) {
            Difference difference = Difference.of(library, listing, index.census(), stamp);
            LibraryNotes notes = LibraryNotes.open(before.index());
            return notes.isBelieved(ALL, difference.unlisted.size(), index.photos(), clock.getAsLong());
        }
    }
}
