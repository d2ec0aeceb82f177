package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoLibrary;
import java.io.ByteArrayInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A phone's photos as a file tells them, which a test writes and this reads anew at every question: volumes with their
 * versions, and of each the numbers that its photos have today.
 */
final class FakePhone implements PhotoLibrary {
    private final Path file;
    final AtomicInteger opened = new AtomicInteger();
    final AtomicInteger lists = new AtomicInteger();
    /** Of how many photos it was asked whether they are visible. */
    final AtomicInteger asked = new AtomicInteger();

    FakePhone(Path file) {
        this.file = file;
    }

    JsonFields document() throws IOException {
        return JsonFields.parse(new String(Files.readAllBytes(file), StandardCharsets.UTF_8), file.toString(), "");
    }

    @Override
    public Listing list() throws IOException {
        checkAccess();
        lists.incrementAndGet();
        JsonFields document = document();
        List<Item> items = new ArrayList<>();
        Map<String, String> versions = new LinkedHashMap<>();
        for (JsonFields volume : document.objects("volumes")) {
            String name = volume.string("name");
            versions.put(name, volume.string("version"));
            JsonFields photos = volume.object("photos");
            for (String id : volume.list("order", String.class)) {
                Path photo = Paths.get(photos.string(id));
                String suffix = photos.string(id).replaceAll(".*\\.", "");
                String kind = suffix.equals("mp4") ? "video/mp4" : "image/" + suffix.replace("jpg", "jpeg");
                long modifiedMs = Files.getLastModifiedTime(photo).toMillis();
                JsonFields taken = document.object("taken");
                String folder = photos.string(id).replaceAll(".*/" + name + "/(.*?)/?[^/]*$", "$1");
                items.add(new Item("content://media/" + name + (suffix.equals("mp4") ? "/video" : "/images") + "/media/" + id, modifiedMs, Files.size(photo), kind,
                    folder, taken.has(photos.string(id)) ? taken.integer(photos.string(id)) : modifiedMs));
            }
        }
        return new Listing(items, versions, document.flag("whole"));
    }

    /** What a test has counted. */
    @Override
    public String state() throws IOException {
        return document().string("state");
    }

    @Override
    public String volume(String path) {
        return MediaPath.volume(path);
    }

    @Override
    public PhotoDecoder.Source open(String path) {
        return () -> {
            opened.incrementAndGet();
            Path log = file.resolveSibling("opened.txt");
            if (Files.exists(log)) {
                Files.write(log, (path + "\n").getBytes(StandardCharsets.UTF_8), StandardOpenOption.APPEND);
            }
            for (JsonFields volume : document().objects("volumes")) {
                if (MediaPath.volume(path).equals(volume.string("name"))) {
                    Path photo = Paths.get(volume.object("photos").string(path.substring(path.lastIndexOf('/') + 1)));
                    return hasPlaces() ? Files.newInputStream(photo) : withoutPlace(photo);
                }
            }
            throw new FileNotFoundException(path);
        };
    }

    @Override
    public boolean hasPlaces() {
        try {
            return document().flag("places");
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /** As Android gives it: without the tag of its coordinates, which is 0x8825. */
    private static InputStream withoutPlace(Path photo) throws IOException {
        String bytes = new String(Files.readAllBytes(photo), StandardCharsets.ISO_8859_1);
        return new ByteArrayInputStream(
            bytes.replaceAll("\\x25\\x88|\\x88\\x25", "\0\0").getBytes(StandardCharsets.ISO_8859_1));
    }

    /** A video is a JSON file: its length, and the photo that each ten seconds show. */
    @Override
    public Frames frames(String path) throws IOException {
        JsonFields video = JsonFields.parse(new String(open(path).open().readAllBytes(), StandardCharsets.UTF_8), path);
        List<String> photos = video.list("frames", String.class);
        return new Frames() {
            @Override
            public long durationMs() {
                try {
                    return video.integer("ms");
                } catch (IOException error) {
                    throw new IllegalStateException(error);
                }
            }

            @Override
            public Photo near(long ms, int atLeast) throws IOException {
                Path photo = Paths.get(photos.get((int) Math.min(ms / 10_000, photos.size() - 1)));
                return new ImageIoDecoder().decode(() -> Files.newInputStream(photo), atLeast);
            }

            @Override
            public void close() {}
        };
    }

    @Override
    public Set<String> visible(List<String> paths) throws IOException {
        Set<String> visible = new HashSet<>();
        asked.addAndGet(paths.size());
        if (!document().flag("access")) {
            return visible;
        }
        Listing listing = list();
        lists.decrementAndGet(); // it is asked for a few photos
        for (Item item : listing.items()) {
            visible.add(item.path());
        }
        visible.retainAll(paths);
        return visible;
    }

    @Override
    public Map<String, String> names(List<String> paths) throws IOException {
        Map<String, String> names = new LinkedHashMap<>();
        for (JsonFields volume : document().objects("volumes")) {
            JsonFields photos = volume.object("photos");
            for (String path : paths) {
                String id = path.substring(path.lastIndexOf('/') + 1);
                if (MediaPath.volume(path).equals(volume.string("name")) && photos.has(id)) {
                    names.put(path, photos.string(id).replaceAll(".*/" + volume.string("name") + "/", ""));
                }
            }
        }
        return names;
    }

    @Override
    public void checkAccess() throws IOException {
        if (!document().flag("access")) {
            throw new McadException(McadException.Kind.ACCESS, "The app may not see photos.", "Allow it.", null);
        }
    }

    int heat() {
        try {
            return document().integer("heat", 0, 6);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }
}
