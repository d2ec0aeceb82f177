package mcad.gallery;

import java.io.IOException;
import java.util.HashSet;
import java.util.Set;
import mcad.engine.index.Membership;
import mcad.engine.index.PhotoIndex;

/**
 * Decides when searches switch to a new student: after an update photos are found by the previous student until a run
 * has embedded all of them by the new one.
 */
final class Reembedding {
    private static final String ALL = "";

    private final InstalledStudents installed;
    private final Device device;
    private PhotoLibrary.Listing listing;

    Reembedding(InstalledStudents installed, Device device) {
        this.installed = installed;
        this.device = device;
    }

    /** At the start of a run: whether the previous index is stale, since the phone has numbered its photos anew. */
    boolean isStale(PhotoLibrary.Listing now) throws IOException {
        listing = now;
        InstalledStudents.Student previous = installed.previous();
        return previous != null && !LibraryState.open(previous.index()).renumbered(now.volumes()).isEmpty();
    }

    /**
     * After a run over all listed photos: whether the new index holds the photos of the previous one. A few missing
     * photos are gone; a large loss (a card that is out, an incomplete list, files that cannot be read) must be
     * confirmed by a run an hour later.
     */
    boolean isComplete() throws IOException {
        InstalledStudents.Student previous = installed.previous();
        if (previous == null || listing.items().isEmpty()) {
            return false;
        }
        try (PhotoIndex old = previous.openIndex(); PhotoIndex current = installed.own().openIndex()) {
            LibraryState libraryState = LibraryState.open(previous.index());
            int missing = missing(old.membership(), current.membership());
            return libraryState.isConfirmed(ALL, missing, old.photos(), device.nowMs());
        }
    }

    /** How many photos of the old index the new one lacks, without those that the user left out. */
    private int missing(Membership old, Membership current) throws IOException {
        Set<String> leftOut = new HashSet<>();
        for (PhotoLibrary.Item item : listing.leftOut()) {
            leftOut.add(item.path());
        }
        int missing = 0;
        boolean more = current.next();
        while (old.next()) {
            String path = old.path();
            while (more && current.compareTo(path) < 0) {
                more = current.next();
            }
            boolean there = more && current.compareTo(path) == 0;
            missing += there || leftOut.contains(path) ? 0 : 1;
        }
        return missing;
    }
}
