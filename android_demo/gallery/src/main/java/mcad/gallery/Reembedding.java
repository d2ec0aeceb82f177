package mcad.gallery;

import java.io.IOException;
import java.util.HashSet;
import java.util.Set;
import java.util.function.LongSupplier;
import mcad.engine.index.Membership;
import mcad.engine.index.PhotoIndex;

/**
 * A new student, the old photos: after an update photos are found by the student of before, until a run has embedded all
 * by the new one. When that is the case is told here.
 */
final class Reembedding {
    private static final String ALL = "";

    private final InstalledStudents installed;
    private final LongSupplier clock;
    private PhotoLibrary.Listing listing;

    Reembedding(InstalledStudents installed, LongSupplier clock) {
        this.installed = installed;
        this.clock = clock;
    }

    /** A run begins: whether the index of before means other photos by now, as the phone has numbered them anew. */
    boolean isStale(PhotoLibrary.Listing now) throws IOException {
        listing = now;
        InstalledStudents.Student before = installed.before();
        return before != null && !LibraryState.open(before.index()).renumbered(now.volumes()).isEmpty();
    }

    /**
     * A run has come to all that is listed: whether the new index holds what that of before does. A few photos less are
     * gone; of many (a card that is out, a list that is not whole, files that cannot be read) it is believed when a run of
     * an hour later says so, too.
     */
    boolean isComplete() throws IOException {
        InstalledStudents.Student before = installed.before();
        if (before == null || listing.items().isEmpty()) {
            return false;
        }
        try (PhotoIndex old = before.openIndex(); PhotoIndex made = installed.own().openIndex()) {
            LibraryState libraryState = LibraryState.open(before.index());
            return libraryState.isConfirmed(ALL, missing(old.membership(), made.membership()), old.photos(), clock.getAsLong());
        }
    }

    /** How many photos of the one are not in the other; those that the user left out are no loss. */
    private int missing(Membership old, Membership made) throws IOException {
        Set<String> leftOut = new HashSet<>();
        for (PhotoLibrary.Item item : listing.leftOut()) {
            leftOut.add(item.path());
        }
        int missing = 0;
        boolean more = made.next();
        while (old.next()) {
            String path = old.path();
            while (more && made.compareTo(path) < 0) {
                more = made.next();
            }
            boolean there = more && made.compareTo(path) == 0;
            missing += there || leftOut.contains(path) ? 0 : 1;
        }
        return missing;
    }
}
