package mcad.desktop;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import mcad.engine.Bundle;
import mcad.engine.Json;
import mcad.engine.JsonFields;
import mcad.engine.McadException;
import mcad.engine.PhotoDecoder;
import mcad.engine.SearchEngine;
import mcad.engine.gallery.IndexRun;
import mcad.engine.gallery.Numbers;
import mcad.engine.gallery.PhotoAccess;
import mcad.engine.gallery.PhotoLibrary;
import mcad.engine.gallery.SearchBox;

/** What the app does behind its screens, asked from Python. */
final class GalleryProbe {
    private GalleryProbe() {}

    /** A folder as a phone's photos. */
    private record Folder(Path folder) implements PhotoLibrary {
        @Override
        public List<Item> list() throws IOException {
            List<Item> items = new ArrayList<>();
            try (java.util.stream.Stream<Path> files = Files.list(folder)) {
                for (Path file : (Iterable<Path>) files.sorted()::iterator) {
                    items.add(new Item(file.toString(), Files.getLastModifiedTime(file).toMillis(), Files.size(file)));
                }
            }
            return items;
        }

        @Override
        public PhotoDecoder.Source open(String path) {
            return () -> Files.newInputStream(Paths.get(path));
        }
    }

    /** Run, but stop after some photos where "stop_after" is given. */
    static Object indexRun(JsonFields request) throws IOException {
        Bundle bundle = Bundle.load(Paths.get(request.string("bundle")), false);
        int stopAfter = request.has("stop_after") ? request.integer("stop_after", 0, 1 << 30) : Integer.MAX_VALUE;
        AtomicInteger embedded = new AtomicInteger(-1);
        List<Object> commits = new ArrayList<>();
        try (SearchEngine engine = new SearchEngine(bundle, 1, Collections.emptyList())) {
            IndexRun run = new IndexRun(Paths.get(request.string("index")), engine, new ImageIoDecoder(),
                new Folder(Paths.get(request.string("folder"))), new Numbers());
            IndexRun.Outcome outcome = run.run(() -> embedded.get() >= stopAfter, new IndexRun.Progress() {
                @Override
                public void done(int done, int total) {
                    embedded.incrementAndGet();
                }

                @Override
                public void committed(int photos) {
                    commits.add(photos);
                }
            });
            return Json.object("added", outcome.added(), "deleted", outcome.deleted(), "skipped", outcome.skipped(),
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
            log.add("failed " + query);
        }
    }

    /** Events: ["type", TEXT], ["wait", MS], ["work"], ["submit"], ["forget"]. */
    static Object searchBox(JsonFields request) throws IOException {
        Screen screen = new Screen();
        List<String> searched = new ArrayList<>();
        SearchBox box = new SearchBox(screen, screen.working::add, Runnable::run, query -> {
            searched.add(query);
            if (query.equals("broken")) {
                throw new McadException("broken", "");
            }
            if (query.equals("bug")) {
                throw new IllegalStateException();
            }
            return new SearchEngine.Found(Collections.emptyList(), Collections.emptyMap(), false);
        }, screen);
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
            } else {
                box.forget();
            }
        }
        return Json.object("log", screen.log, "searched", searched);
    }

    static Object access(JsonFields request) throws IOException {
        int sdk = request.integer("sdk", 26, 99);
        List<String> granted = request.list("granted", String.class);
        return Json.object("ask", Arrays.asList(PhotoAccess.toRequest(sdk)), "state",
            PhotoAccess.state(sdk, granted::contains).name());
    }

    static Object numbers(JsonFields request) throws IOException {
        Numbers numbers = new Numbers();
        for (Number ms : request.list("ms", Number.class)) {
            numbers.add("stage", ms.doubleValue());
        }
        return Json.object("count", numbers.count("stage"), "p50", numbers.percentile("stage", 50), "p90",
            numbers.percentile("stage", 90));
    }
}
