package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.index.RowNumbers;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.function.ToIntFunction;

/**
 * The phone's photo library as the last run saw it, in a file beside the index: the version of each volume, the volumes
 * with a large loss of photos that is not confirmed yet, and the photos that could not be read. The file may be deleted.
 */
final class LibraryState {
    /** This many photos, or a quarter of a volume if that is more, may vanish without confirmation by a second run. */
    private static final int FEW = 16;
    private static final int SHARE = 4;
    /** By then a card has been rescanned or a media database rebuilt. */
    private static final long BELIEVED_AFTER_MS = 60 * 60 * 1000L;
    private static final String NAME = "library.json";

    private final Path file;
    private final Map<String, String> versions = new HashMap<>();
    private final Map<String, Long> losses = new HashMap<>();
    /** Hashed states of photos. */
    private Set<Long> unreadable = new HashSet<>();
    /** Those that did not decode, hashed with what decoded them. */
    private final Set<Long> undecodable = new HashSet<>();
    /** Whether the last run knew where photos were taken. */
    private boolean places;
    /** Whether {@code undecodable} has changed since it was saved. */
    private boolean learned;

    private LibraryState(Path directory) {
        file = directory.resolve(NAME);
    }

    static LibraryState open(Path directory) {
        LibraryState libraryState = new LibraryState(directory);
        try {
            byte[] raw = Files.readAllBytes(libraryState.file);
            JsonFields fields = JsonFields.parse(new String(raw, StandardCharsets.UTF_8), NAME);
            JsonFields versions = fields.object("versions");
            for (String volume : versions.names()) {
                libraryState.versions.put(volume, versions.string(volume));
            }
            JsonFields losses = fields.object("losses");
            for (String volume : losses.names()) {
                libraryState.losses.put(volume, losses.integer(volume));
            }
            libraryState.unreadable.addAll(fields.list("unreadable", Long.class));
            if (fields.has("undecodable")) {
                libraryState.undecodable.addAll(fields.list("undecodable", Long.class));
            }
            libraryState.places = fields.has("places") && fields.flag("places");
        } catch (IOException missingOrTorn) {
            libraryState.versions.clear();
            libraryState.losses.clear();
            libraryState.unreadable.clear();
            libraryState.undecodable.clear();
        }
        return libraryState;
    }

    /** Volumes whose version changed. */
    Set<String> renumbered(Map<String, String> now) {
        Set<String> found = new HashSet<>();
        for (Map.Entry<String, String> volume : now.entrySet()) {
            String before = versions.get(volume.getKey());
            if (before != null && !before.equals(volume.getValue())) {
                found.add(volume.getKey());
            }
        }
        return found;
    }

    /** Remember the versions of mounted volumes; keep those of others. */
    void seen(Map<String, String> now) throws IOException {
        if (!versions.entrySet().containsAll(now.entrySet())) {
            versions.putAll(now);
            save();
        }
    }

    /**
     * Whether {@code lost} unlisted photos of the {@code indexed} photos of a volume count as deleted. A small loss
     * does; a large one must be confirmed by a run at least an hour later.
     */
    boolean isConfirmed(String volume, int lost, int indexed, long nowMs) throws IOException {
        if (lost <= Math.max(FEW, indexed / SHARE)) {
            if (losses.remove(volume) != null) {
                save();
            }
            return true;
        }
        Long since = losses.get(volume);
        if (since == null || since > nowMs) { // or the clock was set back
            losses.put(volume, nowMs);
            save();
            return false;
        }
        return nowMs - since >= BELIEVED_AFTER_MS;
    }

    boolean hasPlaces() {
        return places;
    }

    void places(boolean known) throws IOException {
        if (known != places) {
            places = known;
            save();
        }
    }

    /** Whether the last run skipped this state of a photo. */
    boolean isUnreadable(PhotoLibrary.Item item, int stamp) throws McadException {
        return unreadable.contains(state(item, stamp));
    }

    /** Whether this state of a photo did not decode in this environment: it would be read in vain. */
    boolean isUndecodable(PhotoLibrary.Item item, int stamp, String environment) throws McadException {
        return undecodable.contains(attempt(item, stamp, environment));
    }

    /** Remember a photo that did not decode, as of the next {@link #skipped}. */
    void undecodable(PhotoLibrary.Item item, int stamp, String environment) throws McadException {
        learned |= undecodable.add(attempt(item, stamp, environment));
    }

    /**
     * Remember the photos that a run skipped, in place of those of the run before; beside them if it did not come to
     * all ({@code stopped}).
     */
    void skipped(Collection<PhotoLibrary.Item> items, ToIntFunction<PhotoLibrary.Item> stamp, String environment,
            boolean stopped) throws IOException {
        Set<Long> now = stopped ? new HashSet<>(unreadable) : new HashSet<>();
        Set<Long> hopeless = new HashSet<>();
        for (PhotoLibrary.Item item : items) {
            now.add(state(item, stamp.applyAsInt(item)));
            hopeless.add(attempt(item, stamp.applyAsInt(item), environment));
        }
        learned |= !stopped && undecodable.retainAll(hopeless);
        if (learned || !unreadable.equals(now)) {
            unreadable = now;
            learned = false;
            save();
        }
    }

    private static long attempt(PhotoLibrary.Item item, int stamp, String environment) throws McadException {
        return state(item, stamp) ^ environment.hashCode();
    }

    private static long state(PhotoLibrary.Item item, int stamp) throws McadException {
        return RowNumbers.key(item.path()) ^ stamp;
    }

    private void save() throws McadException {
        Map<String, Object> document =
            JsonFields.of("versions", versions, "losses", losses, "unreadable", new ArrayList<Object>(unreadable),
                "undecodable", new ArrayList<Object>(undecodable), "places", places);
        AtomicFile.write(file, JsonFields.write(document).getBytes(StandardCharsets.UTF_8));
    }
}
