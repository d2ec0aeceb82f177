package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.index.Membership;
import io.github.mcadmobile.engine.index.Moments;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToIntFunction;

/** Decides which listed photos need embedding, for the first time or again, in one pass over listing and index. */
final class ChangedPhotos {
    /** An indexed photo and its stamps. */
    record KnownPhoto(String path, int stamp, int contentStamp) {}

    /** New and changed photos, in listing order. */
    final List<PhotoLibrary.Item> work = new ArrayList<>();
    /** The indexed state of the changed photos, by path. */
    final Map<String, KnownPhoto> changed = new HashMap<>();
    /** Indexed photos that are not listed, and excluded ones whose stamp changed: they may have moved. */
    final List<KnownPhoto> unlisted = new ArrayList<>();
    /** Photos to drop from the index that cannot have moved. */
    final List<KnownPhoto> replaced = new ArrayList<>();
    /** The number of indexed photos per volume. */
    final Map<String, Integer> photosPerVolume = new HashMap<>();

    private ChangedPhotos() {}

    static ChangedPhotos of(PhotoLibrary library, PhotoLibrary.Listing listing, Membership membership,
            ToIntFunction<PhotoLibrary.Item> stamp) throws IOException {
        ChangedPhotos changes = new ChangedPhotos();
        BitSet work = new BitSet();
        List<PhotoLibrary.Item> items = listing.items();
        Integer[] byPath = new Integer[items.size() + listing.leftOut().size()];
        String[] rows = new String[byPath.length];
        Arrays.setAll(byPath, i -> i);
        Arrays.setAll(rows, i -> Moments.firstRow(item(listing, i).path()));
        Arrays.sort(byPath, (a, b) -> Membership.order(rows[a], rows[b]));
        boolean more = changes.advance(library, membership);
        String before = "";
        for (int number : byPath) {
            PhotoLibrary.Item item = item(listing, number);
            if (item.path().equals(before)) {
                continue; // listed twice
            }
            before = item.path();
            int order = -1;
            while (more && (order = membership.compareTo(rows[number])) < 0) {
                changes.unlisted.add(known(membership));
                more = changes.advance(library, membership);
            }
            boolean leftOut = number >= items.size();
            if (!more || order != 0) {
                work.set(number, !leftOut);
                continue;
            }
            if (leftOut) {
                // With another stamp, the entry may describe another photo that has moved elsewhere.
                boolean same = membership.stamp() == stamp.applyAsInt(item);
                (same ? changes.replaced : changes.unlisted).add(known(membership));
            } else if (membership.stamp() != stamp.applyAsInt(item)) {
                changes.changed.put(item.path(), known(membership));
                work.set(number);
            }
            more = changes.advance(library, membership);
        }
        for (; more; more = changes.advance(library, membership)) {
            changes.unlisted.add(known(membership));
        }
        for (int i = work.nextSetBit(0); i >= 0; i = work.nextSetBit(i + 1)) {
            changes.work.add(items.get(i));
        }
        return changes;
    }

    /** Numbers from {@code items().size()} on are left-out photos. */
    private static PhotoLibrary.Item item(PhotoLibrary.Listing listing, int number) {
        int listed = listing.items().size();
        return number < listed ? listing.items().get(number) : listing.leftOut().get(number - listed);
    }

    private boolean advance(PhotoLibrary library, Membership membership) throws IOException {
        boolean more = membership.next();
        if (more) {
            photosPerVolume.merge(StalePaths.volume(library, membership.path()), 1, Integer::sum);
        }
        return more;
    }

    private static KnownPhoto known(Membership membership) {
        return new KnownPhoto(membership.path(), membership.stamp(), membership.contentStamp());
    }
}
