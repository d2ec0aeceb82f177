package mcad.engine.gallery;

import java.io.IOException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import mcad.desktop.ImageIoDecoder;
import mcad.engine.Bundle;
import mcad.engine.PhotoDecoder;
import mcad.engine.SearchEngine;
import mcad.engine.Vectors;
import mcad.engine.index.IndexWriter;
import mcad.engine.index.PhotoIndex;

/**
 * A phone with many photos: "fill BUNDLE INDEX N" makes the index that it would have, "run BUNDLE INDEX N" brings it in
 * step with a list in which nothing is new, "find BUNDLE INDEX N" opens it and searches once. Prints what came of it, and
 * ms: a test gives the JVM as little memory as a phone has to spare.
 */
public final class ManyPhotos {
    private static final String START = "content://media/external_primary/images/media/";

    private ManyPhotos() {}

    /** Made as a list is, each time anew; no photo can be opened. */
    private record Many(int count) implements PhotoLibrary {
        @Override
        public Listing list() {
            List<Item> items = new ArrayList<>(count);
            for (int i = count - 1; i >= 0; i--) {
                items.add(item(i));
            }
            return new Listing(items, Collections.singletonMap("external_primary", "1"), true);
        }

        @Override
        public String volume(String path) {
            return MediaPath.volume(path);
        }

        @Override
        public PhotoDecoder.Source open(String path) {
            throw new IllegalStateException(path + " is known");
        }

        @Override
        public Set<String> visible(List<String> paths) {
            return new HashSet<>(paths);
        }

        @Override
        public void checkAccess() {}
    }

    private static PhotoLibrary.Item item(int number) {
        return new PhotoLibrary.Item(START + (1_000_000 + number), 1_700_000_000_000L + 1000L * number, 3_000_000 + number,
            "image/jpeg");
    }

    public static void main(String[] arguments) throws IOException {
        Bundle bundle = Bundle.load(Paths.get(arguments[1]), false);
        Path directory = Paths.get(arguments[2]);
        int count = Integer.parseInt(arguments[3]);
        switch (arguments[0]) {
            case "fill" -> fill(bundle, directory, count);
            case "run" -> run(bundle, directory, count);
            default -> find(bundle, directory);
        }
    }

    private static void fill(Bundle bundle, Path directory, int count) throws IOException {
        Random random = new Random(1);
        try (PhotoIndex index = PhotoIndex.openOrCreate(
                directory, bundle.dim, bundle.studentName, bundle.studentSha256); IndexWriter writer = index.writer()) {
            for (int i = 0; i < count; i++) {
                float[] vector = new float[bundle.dim];
                for (int j = 0; j < vector.length; j++) {
                    vector[j] = (float) random.nextGaussian();
                }
                writer.add(item(i).path(), Vectors.normalized(vector), Stamps.ofState(item(i), 0), i + 1);
            }
            writer.commit();
            System.out.println(index.photos());
        }
    }

    private static void run(Bundle bundle, Path directory, int count) throws IOException {
        try (SearchEngine engine = new SearchEngine(bundle, 1, Collections.emptyList())) {
            IndexRun run = new IndexRun(directory, engine, new ImageIoDecoder(), new Many(count), new Numbers(),
                System::currentTimeMillis);
            long started = System.nanoTime();
            IndexRun.Outcome outcome = run.run(false, () -> false, new IndexRun.Progress() {
                @Override
                public void done(int done, int total) {}

                @Override
                public void committed(int photos) {}
            });
            System.out.println(outcome.photos() + " " + outcome.added() + " " + outcome.deleted() + " "
                + (System.nanoTime() - started) / 1_000_000);
        }
    }

    /** The clock runs from the opened towers to the first results. */
    private static void find(Bundle bundle, Path directory) throws IOException {
        try (SearchEngine engine = new SearchEngine(bundle, 1, Collections.emptyList())) {
            engine.warmUp();
            long started = System.nanoTime();
            try (PhotoIndex index = PhotoIndex.open(directory)) {
                int found = engine.search(index, "a dog on the beach", 120).results().size();
                System.out.println(index.photos() + " " + found + " " + (System.nanoTime() - started) / 1_000_000);
            }
        }
    }
}
