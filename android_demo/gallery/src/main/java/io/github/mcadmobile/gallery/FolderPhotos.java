package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.IOException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * The photos in the app's own folder, which needs no permission. The index knows each by its path relative to the
 * folder.
 */
public final class FolderPhotos implements PhotoLibrary {
    private static final Map<String, String> KINDS = Map.of("jpg", "image/jpeg", "jpeg", "image/jpeg", "png",
        "image/png", "webp", "image/webp", "heic", "image/heic", "heif", "image/heif", "avif", "image/avif");

    private final Path folder;

    public FolderPhotos(Path folder) {
        this.folder = folder;
    }

    /** The file of an indexed path. */
    public Path file(String path) {
        return folder.resolve(path);
    }

    @Override
    public Listing list() throws IOException {
        checkAccess();
        List<Path> files = files();
        List<Item> items = new ArrayList<>(files.size());
        for (Path file : files) {
            try {
                BasicFileAttributes facts = Files.readAttributes(file, BasicFileAttributes.class);
                if (facts.isRegularFile()) {
                    Path path = folder.relativize(file);
                    String parent = path.getParent() == null ? "" : path.getParent().toString();
                    long modifiedMs = facts.lastModifiedTime().toMillis();
                    items.add(new Item(path.toString(), modifiedMs, facts.size(), kind(file), parent, modifiedMs));
                }
            } catch (NoSuchFileException gone) {
                // Deleted meanwhile.
            }
        }
        return new Listing(items, Collections.singletonMap("", "1"), true);
    }

    private List<Path> files() throws IOException {
        List<Path> files = new ArrayList<>();
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes facts) {
                if (!kind(file).isEmpty()) {
                    files.add(file);
                }
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException error) throws IOException {
                if (error instanceof NoSuchFileException) {
                    return FileVisitResult.CONTINUE; // deleted meanwhile
                }
                throw error;
            }
        });
        Collections.sort(files);
        return files;
    }

    /** The MIME type by file extension; empty if the file is no photo. */
    private static String kind(Path file) {
        String name = file.getFileName().toString();
        return KINDS.getOrDefault(name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT), "");
    }

    @Override
    public String volume(String path) {
        return "";
    }

    @Override
    public PhotoDecoder.Source open(String path) {
        return () -> Files.newInputStream(file(path));
    }

    @Override
    public Set<String> visible(List<String> paths) {
        Set<String> visible = new HashSet<>();
        for (String path : paths) {
            if (Files.isRegularFile(file(path))) {
                visible.add(path);
            }
        }
        return visible;
    }

    @Override
    public void checkAccess() throws IOException {
        if (!Files.isDirectory(folder)) { // otherwise the index would drop all photos
            throw new McadException(
                McadException.Kind.PHOTOS, folder + " is not a folder.", "Make it before you index.", null);
        }
    }
}
