package io.github.mcadmobile.gallery;

import java.util.ArrayDeque;
import java.util.Collection;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.ToIntFunction;

/** Indexed photos whose path is no longer listed; matching stamps find those that moved to another path. */
final class MovedPhotos {
    private final Map<String, ChangedPhotos.KnownPhoto> unmatched = new LinkedHashMap<>();
    private final Map<Long, Deque<ChangedPhotos.KnownPhoto>> byStamps = new HashMap<>();

    /** An unlisted photo can be found if a photo of {@code work} has the same size and time. */
    MovedPhotos(List<ChangedPhotos.KnownPhoto> unlisted, List<PhotoLibrary.Item> work,
            ToIntFunction<PhotoLibrary.Item> stamp) {
        Set<Integer> wanted = new HashSet<>();
        if (!unlisted.isEmpty()) {
            for (PhotoLibrary.Item item : work) {
                wanted.add(stamp.applyAsInt(item));
            }
        }
        for (ChangedPhotos.KnownPhoto known : unlisted) {
            unmatched.put(known.path(), known);
            if (wanted.contains(known.stamp()) && known.contentStamp() != 0) {
                long key = key(known.stamp(), known.contentStamp());
                byStamps.computeIfAbsent(key, stamps -> new ArrayDeque<>(1)).add(known);
            }
        }
    }

    boolean anyMayBeFound() {
        return !byStamps.isEmpty();
    }

    /** A photo with these stamps, which then no longer counts as missing; null if there is none left. */
    ChangedPhotos.KnownPhoto find(int stamp, int contentStamp) {
        Deque<ChangedPhotos.KnownPhoto> equal = byStamps.get(key(stamp, contentStamp));
        if (equal == null || equal.isEmpty()) {
            return null;
        }
        ChangedPhotos.KnownPhoto found = equal.remove();
        unmatched.remove(found.path());
        return found;
    }

    Collection<ChangedPhotos.KnownPhoto> unmatched() {
        return unmatched.values();
    }

    private static long key(int stamp, int contentStamp) {
        return (long) stamp << 32 | contentStamp & 0xffffffffL;
    }
}
