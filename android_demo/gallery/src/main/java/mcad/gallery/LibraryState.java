package mcad.gallery;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import mcad.engine.McadException;
import mcad.engine.base.AtomicFile;
import mcad.engine.base.JsonFields;

/**
 * The phone's photo library as the last run saw it, in a file beside the index: the version of each volume, and the
 * volumes with a large loss of photos that is not confirmed yet. The file may be deleted.
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
        } catch (IOException missingOrTorn) {
            libraryState.versions.clear();
            libraryState.losses.clear();
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

    private void save() throws McadException {
        Map<String, Object> document = JsonFields.of("versions", versions, "losses", losses);
        AtomicFile.write(file, JsonFields.write(document).getBytes(StandardCharsets.UTF_8));
    }
}
