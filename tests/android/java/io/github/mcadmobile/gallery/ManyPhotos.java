package io.github.mcadmobile.gallery;

import io.github.mcadmobile.desktop.ImageIoDecoder;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * Simulates an app with many photos and its index in a folder. "fill BUNDLE FOLDER N EMBEDDINGS.f32" builds the index
 * from the first N embeddings of a file; "run BUNDLE FOLDER N" updates it when nothing is new; "find BUNDLE FOLDER N"
 * opens the app and searches once. Prints the results and ms: of the run; or of opening and the first search together,
 * and of loading the text tower between them.
 */
public final class ManyPhotos {
    private static final String START = "content://media/external_primary/images/media/";
    private static final int FOLDERS = 30;
    private static final int RESULTS = 120;
    private static final double NS_PER_MS = 1e6;

    private ManyPhotos() {}

    /** A library that builds its listing anew each time, like a phone; its photos cannot be opened. */
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

    private record Desktop(Path directory) implements Device {
        @Override
        public String environment() {
            return "1";
        }
    }

    private static final String[] NAMES = new String[FOLDERS];

    static {
        for (int i = 0; i < FOLDERS; i++) {
            NAMES[i] = "DCIM/" + i;
        }
    }

    private static PhotoLibrary.Item item(int number) {
        long takenMs = 1_700_000_000_000L + 1000L * number;
        return new PhotoLibrary.Item(START + (1_000_000 + number), takenMs, 3_000_000 + number, "image/jpeg",
            NAMES[number % FOLDERS], takenMs);
    }

    public static void main(String[] arguments) throws IOException {
        long started = System.nanoTime();
        Path bundle = Paths.get(arguments[1]);
        Path folder = Paths.get(arguments[2]);
        int count = Integer.parseInt(arguments[3]);
        PhotoSearch app = PhotoSearch.open(new PhotoSearch.Setup(path -> Files.newInputStream(bundle.resolve(path)),
            Collections.emptyList(), new Many(count), new ImageIoDecoder(), new Desktop(folder)));
        switch (arguments[0]) {
            case "fill" -> fill(app.bundle(), folder, count, Paths.get(arguments[4]));
            case "run" -> run(app);
            default -> find(app, started);
        }
    }

    private static Path directory(Bundle bundle, Path folder) {
        return folder.resolve("index-" + bundle.imageSha256.substring(0, 16));
    }

    private static void fill(Bundle bundle, Path folder, int count, Path embeddings) throws IOException {
        float[] embedding = new float[bundle.dim];
        ByteBuffer row = ByteBuffer.allocate(Float.BYTES * bundle.dim).order(ByteOrder.LITTLE_ENDIAN);
        try (InputStream in = new BufferedInputStream(Files.newInputStream(embeddings)); PhotoIndex index = PhotoIndex.openOrCreate(
                directory(bundle, folder), bundle.dim, bundle.studentName, bundle.imageSha256); IndexWriter writer = index.writer()) {
            for (int i = 0; i < count; i++) {
                if (in.readNBytes(row.array(), 0, row.capacity()) < row.capacity()) {
                    throw new IOException(embeddings + " ends before " + count + " embeddings.");
                }
                row.asFloatBuffer().get(embedding);
                writer.add(item(i).path(), embedding, Stamps.ofState(item(i), 0), i + 1);
            }
            writer.commit();
            System.out.println(index.photos());
        }
    }

    private static void run(PhotoSearch app) throws IOException {
        long started = System.nanoTime();
        IndexRun.Outcome outcome = app.index().orElseThrow(IllegalStateException::new);
        System.out.println(outcome.photos() + " " + outcome.added() + " " + outcome.deleted() + " " + since(started));
    }

    /** Timed from the start of the program. */
    private static void find(PhotoSearch app, long started) throws IOException {
        int photos = app.photos();
        double opened = since(started);
        long loading = System.nanoTime();
        app.warmUp();
        double loaded = since(loading);
        long searching = System.nanoTime();
        int found = app.search("a dog on the beach", RESULTS).results().size();
        System.out.println(photos + " " + found + " " + (opened + since(searching)) + " " + loaded);
    }

    private static double since(long nanoTime) {
        return (System.nanoTime() - nanoTime) / NS_PER_MS;
    }
}
