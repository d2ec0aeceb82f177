package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * The phone's photos without the folders that the user left out, and the metadata of all listed photos, for searches
 * within a time or a folder. Thread-safe.
 */
final class ChosenPhotos implements PhotoLibrary {
    private final PhotoLibrary all;
    private final Supplier<Path> directory;
    private volatile Folders chosen;
    /** {@link PhotoLibrary#state} before the last list. */
    private volatile String listed = "";
    private PhotoMetadata metadata;

    ChosenPhotos(PhotoLibrary all, Supplier<Path> directory) {
        this.all = all;
        this.directory = directory;
    }

    Folders chosen() {
        Folders now = chosen;
        if (now == null) {
            now = Folders.open(directory.get());
            chosen = now;
        }
        return now;
    }

    /** Save the choice; it applies from the next listing on. */
    void choose(Folders folders) throws IOException {
        folders.save(directory.get());
        chosen = folders;
        listed = "";
    }

    /** Whether the last listing is still current. */
    boolean isListed() throws IOException {
        return !listed.isEmpty() && listed.equals(all.state());
    }

    @Override
    public Listing list() throws IOException {
        String state = all.state();
        Listing whole = all.list();
        keep(PhotoMetadata.of(whole.items()));
        Folders now = chosen();
        List<Item> taken = new ArrayList<>(whole.items().size());
        List<Item> leftOut = new ArrayList<>();
        for (Item item : whole.items()) {
            (now.takes(item.folder()) ? taken : leftOut).add(item);
        }
        listed = state;
        return new Listing(taken, whole.volumes(), whole.whole(), leftOut);
    }

    /** The metadata of the last listing, even if another process made it; lists the photos if there is none. */
    synchronized PhotoMetadata metadata() throws IOException {
        if (metadata == null) {
            try {
                metadata = PhotoMetadata.open(directory.get());
            } catch (IOException missingOrTorn) {
                keep(PhotoMetadata.of(all.list().items()));
            }
        }
        return metadata;
    }

    synchronized void forget() throws IOException {
        metadata = null;
        PhotoMetadata.delete(directory.get());
    }

    private synchronized void keep(PhotoMetadata now) {
        if (metadata != null && metadata.isLike(now)) {
            return;
        }
        metadata = now;
        try {
            Files.createDirectories(directory.get());
            now.save(directory.get());
        } catch (IOException full) {
            // The next process lists the photos again; the next commit reports that there is no space.
        }
    }

    @Override
    public String volume(String path) {
        return all.volume(path);
    }

    @Override
    public PhotoDecoder.Source open(String path) {
        return all.open(path);
    }

    @Override
    public Frames frames(String path) throws IOException {
        return all.frames(path);
    }

    @Override
    public Set<String> visible(List<String> paths) throws IOException {
        return all.visible(paths);
    }

    @Override
    public Map<String, String> names(List<String> paths) throws IOException {
        return all.names(paths);
    }

    @Override
    public boolean hasPlaces() {
        return all.hasPlaces();
    }

    @Override
    public void checkAccess() throws IOException {
        all.checkAccess();
    }
}
