package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.gallery.CurrentIndex;
import io.github.mcadmobile.gallery.Device;
import io.github.mcadmobile.gallery.IndexRun;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.SearchBox;
import io.github.mcadmobile.gallery.Timings;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicInteger;

/** What the app does behind its screens, asked from Python. */
final class GalleryProbe {
    private GalleryProbe() {}

    /** A folder as a phone's photos, of which so many can be opened before access to all is taken back. */
    private record Folder(Path folder, AtomicInteger opened, int mostOpened) implements PhotoLibrary {
        @Override
        public Listing list() throws IOException {
            List<Item> items = new ArrayList<>();
            try (java.util.stream.Stream<Path> files = Files.list(folder)) {
                for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                    long modifiedMs = Files.getLastModifiedTime(file).toMillis();
                    items.add(new Item(file.toString(), modifiedMs, Files.size(file), "", "", modifiedMs));
                }
            }
            return new Listing(items, Collections.singletonMap("", "1"), true);
        }

        @Override
        public String volume(String path) {
            return "";
        }

        @Override
        public Set<String> visible(List<String> paths) {
            return new HashSet<>(paths);
        }

        @Override
        public PhotoDecoder.Source open(String path) {
            opened.incrementAndGet();
            return () -> {
                if (isRevoked()) {
                    throw new FileNotFoundException(path);
                }
                return Files.newInputStream(Paths.get(path));
            };
        }

        @Override
        public void checkAccess() throws IOException {
            if (isRevoked()) {
                throw new McadException(McadException.Kind.ACCESS, "Access was taken back.", "Allow it.", null);
            }
        }

        private boolean isRevoked() {
            return opened.get() > mostOpened;
        }
    }

    /** A computer that does not tell how processes ended. */
    private record Desktop(Path directory) implements Device {
        @Override
        public String environment() {
            return "";
        }
    }

    /** Ends the process, or its memory, over a photo. */
    private static PhotoDecoder decoder(JsonFields request) throws IOException {
        String poison = request.has("poison") ? request.string("poison") : "";
        String large = request.has("large") ? request.string("large") : "";
        PhotoDecoder decoder = new ImageIoDecoder();
        return (source, atLeast) -> {
            try (InputStream in = source.open()) {
                byte[] start = in.readNBytes(64);
                if (!poison.isEmpty() && Arrays.equals(start, Files.newInputStream(Paths.get(poison)).readNBytes(64))) {
                    Runtime.getRuntime().halt(137);
                }
                if (!large.isEmpty() && Arrays.equals(start, Files.newInputStream(Paths.get(large)).readNBytes(64))) {
                    throw new OutOfMemoryError();
                }
            }
            return decoder.decode(source, atLeast);
        };
    }

    /**
     * Run, but stop after some photos where "stop_after" is given; "revoke_after" takes access back, decoding "poison"
     * kills the process, decoding "large" is too much for its memory.
     */
    static Object indexRun(JsonFields request) throws IOException {
        Bundle bundle = Bundle.load(Paths.get(request.string("bundle")), false);
        int stopAfter = request.has("stop_after") ? request.integer("stop_after", 0, 1 << 30) : Integer.MAX_VALUE;
        int mostOpened = request.has("revoke_after") ? request.integer("revoke_after", 0, 1 << 30) : Integer.MAX_VALUE;
        Folder folder = new Folder(Paths.get(request.string("folder")), new AtomicInteger(), mostOpened);
        AtomicInteger embedded = new AtomicInteger(-1);
        List<Object> commits = new ArrayList<>();
        try (SearchEngine engine = new SearchEngine(bundle, 1, Collections.emptyList())) {
            IndexRun run = new IndexRun(Paths.get(request.string("index")), engine, decoder(request), folder,
                new Timings(), new Desktop(folder.folder()));
            IndexRun.Outcome outcome = run.run(false, () -> embedded.get() >= stopAfter, new IndexRun.Progress() {
                @Override
                public void done(int done, int total) {
                    embedded.incrementAndGet();
                }

                @Override
                public void committed(int photos) {
                    commits.add(photos);
                }
            });
            return JsonFields.of("added", outcome.added(), "deleted", outcome.deleted(), "skipped", outcome.skipped(),
                "photos", outcome.photos(), "finished", outcome.finished(), "commits", commits);
        }
    }

    /** A phone's screen with a clock that stands still, and a worker that waits to be let go. */
    private static final class Screen implements SearchBox.Scheduler, SearchBox.Listener {
        final List<String> log = new ArrayList<>();
        final ArrayDeque<Runnable> working = new ArrayDeque<>();
        private Runnable timer;
        private long due;
        private long now;

        @Override
        public void after(long ms, Runnable task) {
            timer = task;
            due = now + ms;
        }

        @Override
        public void cancel(Runnable task) {
            timer = null;
        }

        void pass(long ms) {
            now += ms;
            if (timer != null && now >= due) {
                Runnable task = timer;
                timer = null;
                task.run();
            }
        }

        @Override
        public void cleared() {
            log.add("cleared");
        }

        @Override
        public void searching(String query) {
            log.add("searching " + query);
        }

        @Override
        public void found(String query, SearchEngine.Found found) {
            log.add("found " + query);
        }

        @Override
        public void failed(String query, IOException error) {
            log.add("failed " + query + ": " + ((McadException) error).hint);
        }
    }

    /** Events: ["type", TEXT], ["wait", MS], ["work"], ["submit"], ["like", PATH], ["forget"]. */
    static Object searchBox(JsonFields request) throws IOException {
        Screen screen = new Screen();
        List<String> searched = new ArrayList<>();
        SearchBox[] typing = {null};
        SearchBox box = new SearchBox(screen, screen.working::add, Runnable::run, query -> {
            searched.add(query);
            if (query.equals("overtaken")) {
                typing[0].type("next");
            }
            if (query.equals("broken")) {
                throw new McadException("broken", "Repair it.");
            }
            if (query.equals("bug")) {
                throw new IllegalStateException();
            }
            return new SearchEngine.Found(List.of(), Map.of(), false, List.of());
        }, screen);
        typing[0] = box;
        for (JsonFields event : request.objects("events")) {
            if (event.has("type")) {
                box.type(event.string("type"));
            } else if (event.has("wait")) {
                screen.pass(event.integer("wait"));
            } else if (event.has("work")) {
                while (!screen.working.isEmpty()) {
                    screen.working.poll().run();
                }
            } else if (event.has("submit")) {
                box.submit();
            } else if (event.has("like")) {
                box.ask(event.string("like"), path -> {
                    searched.add("like " + path);
                    return new SearchEngine.Found(List.of(), Map.of(), false, List.of());
                });
            } else {
                box.forget();
            }
        }
        return JsonFields.of("log", screen.log, "searched", searched);
    }

    static Object access(JsonFields request) throws IOException {
        int sdk = request.integer("sdk", 26, 99);
        List<String> granted = request.list("granted", String.class);
        boolean videos = request.flag("videos");
        return JsonFields.of("ask", Arrays.asList(PhotoAccess.toRequest(sdk, videos)), "state",
            PhotoAccess.state(sdk, videos, granted::contains).name());
    }

    /** Answers by no, each as [to be explained before, to be explained after]: which of them is the last. */
    static Object refusals(JsonFields request) throws IOException {
        PhotoAccess.Refusals refusals = new PhotoAccess.Refusals();
        List<Object> last = new ArrayList<>();
        for (JsonFields answer : request.objects("answers")) {
            last.add(refusals.isLast(answer.flag("before"), answer.flag("after")));
        }
        return last;
    }

    /**
     * Photos in the index after each step: "get" it, or a "commit" from elsewhere, or one that comes "meanwhile", or one
     * that does not open.
     */
    static Object currentIndex(JsonFields request) throws IOException {
        Path directory = Paths.get(request.string("index"));
        String[] step = {""};
        List<Object> photos = new ArrayList<>();
        CurrentIndex[] opening = {null};
        try (CurrentIndex current = new CurrentIndex(() -> {
            if (step[0].equals("broken")) {
                throw new FileNotFoundException("too many open files");
            }
            if (step[0].equals("bug")) {
                throw new IllegalStateException();
            }
            PhotoIndex opened = PhotoIndex.openOrCreate(directory, 8, "tiny", "0");
            if (step[0].equals("meanwhile")) {
                commit(directory, photos.size());
                opening[0].committed();
            }
            return opened;
        })) {
            opening[0] = current;
            for (String next : request.list("steps", String.class)) {
                step[0] = next;
                if (next.equals("commit")) {
                    commit(directory, photos.size());
                    current.committed();
                    continue;
                }
                try {
                    PhotoIndex index = current.get();
                    float[] query = {1, 0, 0, 0, 0, 0, 0, 0};
                    photos.add(index.search(query, 10).paths().length);
                } catch (McadException error) {
                    photos.add(error.kind.name());
                } catch (IllegalStateException bug) {
                    photos.add("bug");
                }
            }
        }
        return photos;
    }

    private static void commit(Path directory, int number) throws IOException {
        try (PhotoIndex index = PhotoIndex.openOrCreate(directory, 8, "tiny", "0"); IndexWriter writer = index.writer()) {
            writer.add(number + ".jpg", new float[] {0, 1, 0, 0, 0, 0, 0, 0}, 1, 1);
            writer.commit();
        }
    }

    static Object timings(JsonFields request) throws IOException {
        Timings timings = new Timings();
        for (Number ms : request.list("ms", Number.class)) {
            timings.add("stage", ms.doubleValue());
        }
        return JsonFields.of("count", timings.count("stage"), "p50", timings.percentile("stage", 50), "p90",
            timings.percentile("stage", 90));
    }
}
