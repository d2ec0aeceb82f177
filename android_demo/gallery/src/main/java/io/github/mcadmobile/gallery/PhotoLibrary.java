package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.IOException;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;

/** A source of photos: a phone's media store or a folder. */
public interface PhotoLibrary {
    /**
     * A photo or video.
     *
     * @param path its path in the index
     * @param modifiedMs when its file was last changed, in ms since 1970
     * @param kind its MIME type, such as "image/jpeg"
     * @param folder its folder, as the user can choose it, such as "DCIM/Camera"
     * @param takenMs when it was taken, in ms since 1970; {@code modifiedMs} if unknown
     */
    record Item(String path, long modifiedMs, long bytes, String kind, String folder, long takenMs) {
        public boolean isVideo() {
            return kind.startsWith("video/");
        }
    }

    /**
     * The photos that the app can see now.
     *
     * @param items in the order in which to index them
     * @param volumes the mounted volumes, each with its version: a new version means that the phone renumbered its
     *     photos, and that a path may mean another photo
     * @param whole false if the user granted access to selected photos only: an unlisted photo may still exist
     * @param leftOut visible photos of excluded folders: the index holds none of them
     */
    record Listing(List<Item> items, Map<String, String> volumes, boolean whole, List<Item> leftOut) {
        public Listing(List<Item> items, Map<String, String> volumes, boolean whole) {
            this(items, volumes, whole, Collections.emptyList());
        }
    }

    Listing list() throws IOException;

    /** The {@code most} last taken photos that are {@code wanted}, newest first. */
    default List<Item> recent(int most, Predicate<Item> wanted) throws IOException {
        return list().items().stream().filter(wanted).sorted(Comparator.comparingLong(Item::takenMs).reversed())
            .limit(most).collect(Collectors.toList());
    }

    /** A token that changes when the listing changes; empty if only {@link #list} can tell. */
    default String state() throws IOException {
        return "";
    }

    /** The volume of a path, also of one that is no longer listed. */
    String volume(String path);

    PhotoDecoder.Source open(String path);

    /** Open a video to decode its frames. IOException with the reason if it cannot be decoded. */
    default Frames frames(String path) throws IOException {
        throw new McadException(path + " is a video, which this library does not decode.", "Leave videos out of its list.");
    }

    /** A video, opened. */
    interface Frames extends AutoCloseable {
        long durationMs();

        /** Decode the key frame nearest to a moment, upright; both sides keep {@code 2 * atLeast} pixels if they have. */
        Photo near(long ms, int atLeast) throws IOException;

        @Override
        void close();
    }

    /** The subset of {@code paths} that the app can see now. */
    Set<String> visible(List<String> paths) throws IOException;

    /** What the files of {@code paths} and their folders are called, as far as the app can see them now. */
    default Map<String, String> names(List<String> paths) throws IOException {
        return paths.stream().collect(Collectors.toMap(path -> path, path -> path));
    }

    /** Whether {@link #open} gives files with where they were taken. */
    default boolean hasPlaces() {
        return true;
    }

    /** Throw IOException if access to photos was revoked: a photo that cannot be opened may then be whole. */
    void checkAccess() throws IOException;
}
