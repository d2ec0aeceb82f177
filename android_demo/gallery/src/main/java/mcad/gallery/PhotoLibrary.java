package mcad.gallery;

import java.io.IOException;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import mcad.engine.photos.PhotoDecoder;

/** The photos of a phone, or of a folder. */
public interface PhotoLibrary {
    /**
     * A photo.
     *
     * @param path its path in the index
     * @param modifiedMs when its file changed, in ms since 1970
     * @param kind its MIME type: "image/jpeg"
     * @param folder where it lies, as a user may choose it: "DCIM/Camera"
     * @param takenMs when it was taken, in ms since 1970; when its file changed where nobody knows
     */
    record Item(String path, long modifiedMs, long bytes, String kind, String folder, long takenMs) {}

    /**
     * What can be seen now.
     *
     * @param items in the order in which they are to be indexed
     * @param volumes those that are mounted, each with its version: when that changes, the phone has numbered its
     *     photos anew, and a path may mean another photo
     * @param whole false where the user chose which photos are seen: one that is not among them is still there
     * @param leftOut those that are seen and are not to be indexed: the index holds none of them
     */
    record Listing(List<Item> items, Map<String, String> volumes, boolean whole, List<Item> leftOut) {
        public Listing(List<Item> items, Map<String, String> volumes, boolean whole) {
            this(items, volumes, whole, Collections.emptyList());
        }
    }

    Listing list() throws IOException;

    /** The {@code most} photos that were taken last, of those that are {@code wanted}; the newest first. */
    default List<Item> recent(int most, Predicate<Item> wanted) throws IOException {
        return list().items().stream().filter(wanted).sorted(Comparator.comparingLong(Item::takenMs).reversed())
            .limit(most).collect(Collectors.toList());
    }

    /** As long as it is the same, a list would be; empty where only a list can tell. */
    default String state() throws IOException {
        return "";
    }

    /** The volume of a path, of one that is no longer listed, too. */
    String volume(String path);

    PhotoDecoder.Source open(String path);

    /** Those of {@code paths} that can be seen now. */
    Set<String> visible(List<String> paths) throws IOException;

    /** IOException when photos may no longer be seen: one that does not open then is not a broken one. */
    void checkAccess() throws IOException;
}
