package mcad.gallery;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import mcad.engine.photos.PhotoDecoder;

/**
 * The phone's photos without the folders that the user left out, which a list names apart; and what the last list told of
 * each photo, for searches within a time or a folder. For all threads.
 */
final class ChosenPhotos implements PhotoLibrary {
    private final PhotoLibrary all;
    private final Path directory;
    private volatile Folders chosen;
    private PhotoMetadata metadata;

    ChosenPhotos(PhotoLibrary all, Path directory) {
        this.all = all;
        this.directory = directory;
    }

    Folders chosen() {
        Folders now = chosen;
        if (now == null) {
            now = Folders.open(directory);
            chosen = now;
        }
        return now;
    }

    /** From the next list on; it is kept. */
    void choose(Folders folders) throws IOException {
        folders.save(directory);
        chosen = folders;
    }

    @Override
    public Listing list() throws IOException {
        Listing whole = all.list();
        keep(PhotoMetadata.of(whole.items()));
        Folders now = chosen();
        List<Item> taken = new ArrayList<>(whole.items().size());
        List<Item> leftOut = new ArrayList<>();
        for (Item item : whole.items()) {
            (now.takes(item.folder()) ? taken : leftOut).add(item);
        }
        return new Listing(taken, whole.volumes(), whole.whole(), leftOut);
    }

    /** What the last list told, be it of another process; the list is asked where none is known. */
    synchronized PhotoMetadata metadata() throws IOException {
        if (metadata == null) {
            try {
                metadata = PhotoMetadata.open(directory);
            } catch (IOException missingOrTorn) {
                keep(PhotoMetadata.of(all.list().items()));
            }
        }
        return metadata;
    }

    synchronized void forget() throws IOException {
        metadata = null;
        PhotoMetadata.delete(directory);
    }

    private synchronized void keep(PhotoMetadata now) {
        if (metadata != null && metadata.isLike(now)) {
            return;
        }
        metadata = now;
        try {
            Files.createDirectories(directory);
            now.save(directory);
        } catch (IOException full) {
            // The next process asks for the list again; whoever has to write says that there is no space.
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
    public Set<String> visible(List<String> paths) throws IOException {
        return all.visible(paths);
    }

    @Override
    public void checkAccess() throws IOException {
        all.checkAccess();
    }
}
