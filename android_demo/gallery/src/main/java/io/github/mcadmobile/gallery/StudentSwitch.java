package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.index.Membership;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.IOException;
import java.util.HashSet;
import java.util.Set;

/** Decides when searches switch to a new student after an update: once a run has embedded all photos with it. */
final class StudentSwitch {
    private static final String ALL = "";

    private final InstalledStudents installed;
    private final Device device;
    private PhotoLibrary.Listing listing;

    StudentSwitch(InstalledStudents installed, Device device) {
        this.installed = installed;
        this.device = device;
    }

    /** At the start of a run: whether the previous index is stale because the phone renumbered its photos. */
    boolean isStale(PhotoLibrary.Listing now) throws IOException {
        listing = now;
        InstalledStudents.Student previous = installed.previous();
        return previous != null && !LibraryState.open(previous.index()).renumbered(now.volumes()).isEmpty();
    }

    /**
     * After a run over all listed photos: whether the new index holds the photos of the previous one. A few missing
     * photos count as deleted; a large loss (a card taken out, an incomplete listing, unreadable files) must be
     * confirmed by a run at least an hour later.
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

    /** Photos of the old index that the new one lacks, not counting photos of excluded folders. */
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
            boolean indexed = more && current.compareTo(path) == 0;
            missing += indexed || leftOut.contains(path) ? 0 : 1;
        }
        return missing;
    }
}
