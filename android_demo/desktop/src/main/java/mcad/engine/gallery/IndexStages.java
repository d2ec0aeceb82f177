package mcad.engine.gallery;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import mcad.desktop.ImageIoDecoder;
import mcad.engine.Bundle;
import mcad.engine.Json;
import mcad.engine.Photo;
import mcad.engine.PhotoDecoder;
import mcad.engine.SearchEngine;

/**
 * Where the time of a run goes: BUNDLE PHOTOS INDEX THREADS. An {@link IndexRun} as the app's, over a folder, once to warm
 * up and once more into a new index. Prints ms of each stage, all photos together, how many photos there were, and how
 * often a file was opened.
 */
public final class IndexStages {
    private static final double MS = 1e6;

    private IndexStages() {}

    private static final class Folder implements PhotoLibrary {
        private final Path folder;
        private long reading;
        private int opened;

        Folder(Path folder) {
            this.folder = folder;
        }

        @Override
        public Listing list() throws IOException {
            List<Item> items = new ArrayList<>();
            try (Stream<Path> files = Files.list(folder)) {
                for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                    long modifiedMs = Files.getLastModifiedTime(file).toMillis();
                    items.add(new Item(file.toString(), modifiedMs, Files.size(file), "image/jpeg", "", modifiedMs));
                }
            }
            return new Listing(items, Collections.singletonMap("", "1"), true);
        }

        @Override
        public String volume(String path) {
            return "";
        }

        @Override
        public PhotoDecoder.Source open(String path) {
            return () -> {
                opened++;
                long started = System.nanoTime();
                byte[] data = Files.readAllBytes(Paths.get(path));
                reading += System.nanoTime() - started;
                return new ByteArrayInputStream(data);
            };
        }

        @Override
        public Set<String> visible(List<String> paths) {
            return new HashSet<>(paths);
        }

        @Override
        public void checkAccess() {}
    }

    private static final class Timed implements PhotoDecoder {
        private final PhotoDecoder decoder = new ImageIoDecoder();
        private long decoding;

        @Override
        public Photo decode(Source source, int atLeast) throws IOException {
            long started = System.nanoTime();
            Photo photo = decoder.decode(source, atLeast);
            decoding += System.nanoTime() - started;
            return photo;
        }
    }

    /** Nobody stops the run, and it is never hot. */
    private static final class Undisturbed implements Conditions, IndexRun.Progress {
        @Override
        public boolean isStopped() {
            return false;
        }

        @Override
        public int heat() {
            return 0;
        }

        @Override
        public void done(int done, int total) {}

        @Override
        public void committed(int photos) {}
    }

    public static void main(String[] arguments) throws IOException {
        Bundle bundle = Bundle.load(Paths.get(arguments[0]), false);
        Path photos = Paths.get(arguments[1]);
        Path indexes = Paths.get(arguments[2]);
        try (SearchEngine engine =
                new SearchEngine(bundle, Integer.parseInt(arguments[3]), Collections.emptyList())) {
            once(engine, photos, indexes.resolve("warm-up"));
            System.out.println(once(engine, photos, indexes.resolve("measured")));
        }
    }

    private static String once(SearchEngine engine, Path photos, Path index) throws IOException {
        Folder folder = new Folder(photos);
        Timed decoder = new Timed();
        Numbers numbers = new Numbers();
        Undisturbed undisturbed = new Undisturbed();
        long started = System.nanoTime();
        IndexRun.Outcome outcome = new IndexRun(index, engine, decoder, folder, numbers, System::currentTimeMillis)
            .run(false, undisturbed, undisturbed);
        double total = (System.nanoTime() - started) / MS;
        double toPixels = numbers.sum("decode");
        double tower = numbers.sum("image");
        double read = folder.reading / MS;
        double decode = decoder.decoding / MS;
        return Json.write(Json.object("photos", outcome.added(), "opened", folder.opened, "total", total, "read", read,
            "decode", decode, "resize", toPixels - read - decode, "tower", tower, "write", total - toPixels - tower));
    }
}
