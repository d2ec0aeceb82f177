package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.QueryPart;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.IoSupplier;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.gallery.Device;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.FolderPhotos;
import io.github.mcadmobile.gallery.Folders;
import io.github.mcadmobile.gallery.IndexRun;
import io.github.mcadmobile.gallery.Indexing;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.PhotoSearch;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** The life of an app through its one door, {@link PhotoSearch}, on a {@link FakePhone}; asked from Python. */
final class LifeProbe {
    private static final Map<String, LifeProbe> APPS = new HashMap<>();

    private final FakePhone phone;
    private final PhotoSearch search;
    private final List<Object> heard = new ArrayList<>();
    private final List<Object> npuUnused = Collections.synchronizedList(new ArrayList<>());
    private final Decoder decoder = new Decoder();
    private final long started = System.currentTimeMillis();
    private String language = "en";
    private long now;

    private LifeProbe(JsonFields request) throws IOException {
        phone = new FakePhone(Paths.get(request.string("phone")));
        Path bundle = Paths.get(request.string("bundle"));
        List<File> libraries = request.has("libraries")
            ? Collections.singletonList(new File(request.string("libraries"))) : Collections.emptyList();
        PhotoLibrary photos = request.has("folder") ? new FolderPhotos(Paths.get(request.string("folder"))) : phone;
        search = PhotoSearch.open(new PhotoSearch.Setup(path -> Files.newInputStream(bundle.resolve(path)), libraries,
            photos, decoder, new FakeDevice(request)));
        search.addNpuListener((tower, why) -> {
            npuUnused.add(tower + " " + why.reason() + " " + why.step());
            throw new IllegalStateException("a view was touched on the wrong thread");
        });
        search.addListener(() -> {
            Indexing state = search.indexing();
            synchronized (heard) {
                heard.add(JsonFields.of("running", state.running(), "resting", state.resting(),
                    "changing", state.changing(), "done", state.done(), "total", state.total(), "per_minute",
                    state.perMinute(), "read", state.read(), "to_read", state.toRead()));
            }
        });
    }

    /** A phone that says of each process that is gone how it "ended": by a fault, if the request does not say. */
    private final class FakeDevice implements Device {
        private final Path directory;
        private final String environment;
        private final End ended;
        private final String chip;

        FakeDevice(JsonFields request) throws IOException {
            directory = Paths.get(request.string("directory"));
            environment = request.has("environment") ? request.string("environment") : "app 1, firmware 1";
            chip = request.has("chip") ? request.string("chip") : "";
            ended = End.valueOf(request.has("ended") ? request.string("ended") : "FAULT");
        }

        @Override
        public Path directory() {
            return directory;
        }

        @Override
        public String environment() {
            return environment;
        }

        @Override
        public String chip() {
            return chip;
        }

        @Override
        public String language() {
            return language;
        }

        @Override
        public long nowMs() {
            return started + now;
        }

        @Override
        public int heat() {
            return phone.heat();
        }

        @Override
        public long decodingMs() {
            return decoder.hangs.isEmpty() ? 60_000 : 2_000;
        }

        @Override
        public int current() {
            return (int) ProcessHandle.current().pid();
        }

        @Override
        public End end(int process) {
            return process == 0 ? End.UNKNOWN : ended;
        }
    }

    /** Decodes as the desktop does; what is of a kind in {@code revisions} comes out otherwise than it did. */
    private static final class Decoder implements PhotoDecoder {
        private final PhotoDecoder real = new ImageIoDecoder();
        private final Map<String, Integer> revisions = new HashMap<>();
        private volatile boolean broken;
        private volatile String hangs = "";
        private CountDownLatch gate;
        private CountDownLatch reached;

        @Override
        public Photo decode(Source source, int atLeast) throws IOException {
            if (!hangs.isEmpty() && Arrays.equals(source.open().readAllBytes(), Files.readAllBytes(Paths.get(hangs)))) {
                hang();
            }
            if (broken) {
                throw new NoClassDefFoundError("broken");
            }
            if (reached != null) {
                reached.countDown();
                try {
                    gate.await();
                } catch (InterruptedException error) {
                    throw new IOException(error);
                }
            }
            return real.decode(source, atLeast);
        }

        /** As in native code: no interrupt ends it. */
        private static void hang() {
            while (true) {
                try {
                    Thread.sleep(Long.MAX_VALUE);
                } catch (InterruptedException error) {
                    // It sleeps on.
                }
            }
        }

        @Override
        public int revision(String kind) {
            return revisions.getOrDefault(kind, 0);
        }
    }

    static Object answer(JsonFields request) throws IOException {
        String key = request.string("directory");
        if (!APPS.containsKey(key)) {
            APPS.put(key, new LifeProbe(request));
        }
        LifeProbe app = APPS.get(key);
        if (request.has("ms")) {
            app.now = request.integer("ms");
        }
        if (request.string("verb").equals("close")) {
            return APPS.remove(key).close(request.has("towers"));
        }
        return app.ask(request.string("verb"), request);
    }

    /** With {@code tells}, whether the towers that ran last were closed, too. */
    private Object close(boolean tells) throws IOException {
        Bundle bundle = tells ? search.bundle() : null;
        Ladder.LoadedRung text = tells ? search.textTower() : null;
        search.close();
        return tells ? JsonFields.of("text", isClosed(bundle, "text", text), "image",
            isClosed(bundle, "image", search.imageTower())) : true;
    }

    private static boolean isClosed(Bundle bundle, String tower, Ladder.LoadedRung loaded) throws IOException {
        try {
            Ladder.runGolden(bundle, tower, loaded.tower());
            return false;
        } catch (IllegalStateException closed) {
            return true;
        }
    }

    private Object ask(String verb, JsonFields request) throws IOException {
        switch (verb) {
            case "index":
                if (request.has("revision")) {
                    decoder.revisions.put("image/heic", request.integer("revision", 0, 9));
                }
                decoder.broken = request.has("broken");
                decoder.hangs = request.has("hangs") ? request.string("hangs") : "";
                phone.opened.set(0);
                synchronized (heard) {
                    heard.clear();
                }
                return outcome(search.index());
            case "index_while": {
                int[] wanted = {request.integer("asked", 0, 1 << 20)};
                return outcome(search.index(() -> wanted[0]-- > 0));
            }
            case "interrupted":
                return interrupted(request);
            case "hot":
                return hot(request);
            case "search":
                search.stackDuplicates(request.has("same") ? (float) request.number("same") : 2);
                return found(search.search(request.string("words"), request.integer("k", 1, 1 << 20), filter(request),
                    SearchEngine.Channel.valueOf(request.has("by") ? request.string("by") : "BOTH")));
            case "parts": {
                List<QueryPart> parts = new ArrayList<>();
                for (JsonFields part : request.objects("parts")) {
                    float weight = (float) part.number("weight");
                    parts.add(part.has("path")
                        ? QueryPart.photo(part.string("path"), weight) : QueryPart.words(part.string("words"), weight));
                }
                return found(search.search(parts, request.integer("k", 1, 1 << 20), filter(request)));
            }
            case "like":
                if (request.has("words")) {
                    return found(search.moreLike(
                        request.string("path"), request.string("words"), request.integer("k", 1, 1 << 20), filter(request)));
                }
                return found(search.moreLike(request.string("path"), request.integer("k", 1, 1 << 20), filter(request)));
            case "like_file":
                Path photo = Paths.get(request.string("photo"));
                int most = request.integer("k", 1, 1 << 20);
                return found(request.has("words")
                    ? search.moreLike(() -> Files.newInputStream(photo), request.string("words"), most, filter(request))
                    : search.moreLike(() -> Files.newInputStream(photo), most, filter(request)));
            case "recent": {
                List<Object> paths = new ArrayList<>();
                for (PhotoLibrary.Item item : search.recent(request.integer("most", 1, 1 << 20), filter(request))) {
                    paths.add(item.path());
                }
                return paths;
            }
            case "timings":
                return JsonFields.of("photos", search.timings.count("image"), "ms",
                    search.timings.sum("decode") + search.timings.sum("image"), "total",
                    search.timings.sum("total"), "stages",
                    search.timings.sum("tokenize") + search.timings.sum("text") + search.timings.sum("scan")
                        + search.timings.sum("rescore"));
            case "clearest":
                return search.clearest(request.list("queries", String.class), request.integer("most", 1, 9));
            case "folders":
                return search.folders();
            case "choose_folders":
                search.chooseFolders(
                    new Folders(request.flag("only"), new HashSet<>(request.list("names", String.class))));
                return search.chosenFolders().takes("DCIM/Camera");
            case "count":
                search.count();
                return state();
            case "state":
                return state();
            case "heard":
                synchronized (heard) {
                    return new ArrayList<>(heard);
                }
            case "rungs":
                return JsonFields.of("text", rung(search.textTower()), "image", rung(search.imageTower()),
                    "npu_unused", new ArrayList<>(npuUnused));
            case "estimate":
                if (!request.has("uncounted")) {
                    search.count();
                }
                search.estimate();
                return state();
            case "closed":
                return closed();
            case "index_unheard": {
                Runnable broken = () -> {
                    throw new IllegalStateException("a view was touched on the wrong thread");
                };
                search.addListener(broken);
                try {
                    return outcome(search.index());
                } finally {
                    search.removeListener(broken);
                }
            }
            case "search_meanwhile":
                return searchMeanwhile(request);
            case "search_later":
                return searchLater(request);
            case "index_later":
                return indexLater();
            case "release": {
                Ladder.LoadedRung before = search.textTower();
                boolean kept = before == search.textTower();
                search.release();
                return JsonFields.of("kept", kept, "released", before != search.textTower(), "closed",
                    isClosed(search.bundle(), "text", before));
            }
            case "speak": {
                Bundle bundle = search.bundle();
                Ladder.LoadedRung before = search.textTower();
                language = request.string("language");
                return JsonFields.of("changed", before != search.textTower(), "closed",
                    isClosed(bundle, bundle.textTower, before));
            }
            case "try_rungs_again":
                search.tryRungsAgain();
                return true;
            case "bundle":
                return search.bundle().studentSha256;
            case "index_some":
                return stopped(request.integer("photos", 1, 1 << 20));
            case "index_until_error":
                return failed(request.integer("photos", 1, 1 << 20));
            case "index_searched":
                return searchableMeanwhile();
            case "clear":
                search.clear();
                return search.photos();
            default:
                throw new McadException("Unknown request.", "Fix the test.");
        }
    }

    /** A run on a hot phone that, when it rests, is told to stop, or cools down: {@code then} is how it is by then. */
    private Object hot(JsonFields request) throws IOException {
        int[] rests = {0};
        boolean cools = request.has("then");
        boolean[] restsWarm = {false};
        Thread later = new Thread(() -> {
            try {
                Thread.sleep(300);
            } catch (InterruptedException error) {
                throw new IllegalStateException(error);
            }
            restsWarm[0] = search.indexing().resting();
            become(request, "then");
        });
        Runnable listener = () -> {
            if (!search.indexing().resting()) {
                return;
            }
            rests[0]++;
            if (!cools) {
                search.stopIndexing();
            } else if (!request.has("warm")) {
                become(request, "then");
            } else {
                become(request, "warm");
                later.start();
            }
        };
        search.addListener(listener);
        try {
            return JsonFields.of("outcome", outcome(search.index()), "rests", rests[0], "rests_warm", restsWarm[0]);
        } finally {
            search.removeListener(listener);
        }
    }

    /** The phone is from now on what another file says. */
    private static void become(JsonFields request, String name) {
        try {
            Files.copy(Paths.get(request.string(name)), Paths.get(request.string("phone")),
                StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    /** A run that is told to stop after so many photos. */
    private Object stopped(int photos) throws IOException {
        int[] before = {-1};
        Runnable listener = () -> {
            Indexing state = search.indexing();
            before[0] = before[0] < 0 ? state.done() : before[0];
            if (state.running() && before[0] >= 0 && state.done() - before[0] >= photos) {
                search.stopIndexing();
            }
        };
        search.addListener(listener);
        try {
            return outcome(search.index());
        } finally {
            search.removeListener(listener);
        }
    }

    /** A run for which memory runs out after {@code photos}. */
    private Object failed(int photos) throws IOException {
        Runnable listener = () -> {
            if (search.indexing().running() && search.indexing().done() >= photos) {
                throw new OutOfMemoryError("of a test");
            }
        };
        search.addListener(listener);
        try {
            return outcome(search.index());
        } catch (OutOfMemoryError error) {
            return error.getMessage();
        } finally {
            search.removeListener(listener);
        }
    }

    /** How many photos can be found at each report of a run, and how many reports came after they were given up. */
    private Object searchableMeanwhile() throws IOException {
        List<Object> searchable = new ArrayList<>();
        Runnable listener = () -> {
            try {
                searchable.add(search.photos());
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        };
        search.addListener(listener);
        search.index();
        search.removeListener(listener);
        int reports = searchable.size();
        search.index();
        return JsonFields.of("searchable", searchable, "unwanted", searchable.size() - reports);
    }

    /** What is answered by a search that was closed, and how often it told that it was. */
    private Object closed() throws IOException {
        int[] closings = {0};
        search.onClose(() -> closings[0]++);
        search.close();
        search.close();
        search.release();
        List<Object> errors = new ArrayList<>();
        for (IoSupplier<Object> call : List.<IoSupplier<Object>>of(
                () -> search.search("a dog", 1), search::photos, search::index, () -> search.indexInstead(() -> true))) {
            try {
                errors.add(call.get());
            } catch (McadException error) {
                errors.add(error.message);
            }
        }
        return JsonFields.of("closings", closings[0], "errors", errors);
    }

    /** A search while the app that shares a photo has not sent it yet. */
    private Object searchMeanwhile(JsonFields request) throws IOException {
        CountDownLatch reached = new CountDownLatch(1);
        CountDownLatch gate = new CountDownLatch(1);
        Path photo = Paths.get(request.string("photo"));
        List<Object> like = new ArrayList<>();
        Thread before = new Thread(() -> {
            try {
                like.add(found(search.moreLike(() -> {
                    reached.countDown();
                    await(gate);
                    return Files.newInputStream(photo);
                }, 1)));
            } catch (IOException error) {
                like.add(error.toString());
            }
        });
        before.start();
        await(reached);
        Object meanwhile;
        try {
            meanwhile = found(search.searchLater("a dog", 1, Filter.ALL).get(20, TimeUnit.SECONDS));
        } catch (ExecutionException | InterruptedException | TimeoutException error) {
            meanwhile = error.toString();
        }
        gate.countDown();
        try {
            before.join();
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
        return JsonFields.of("meanwhile", meanwhile, "like", like.get(0));
    }

    /** Two searches that wait for one before them; the first of them is cancelled meanwhile. */
    private Object searchLater(JsonFields request) throws IOException {
        CountDownLatch reached = new CountDownLatch(1);
        CountDownLatch gate = new CountDownLatch(1);
        decoder.reached = reached;
        decoder.gate = gate;
        Path photo = Paths.get(request.string("photo"));
        Thread before = new Thread(() -> {
            try {
                search.moreLike(() -> Files.newInputStream(photo), 1);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        });
        before.start();
        await(reached);
        decoder.reached = null;
        CompletableFuture<SearchEngine.Found> cancelled = search.searchLater("a dog", 5, Filter.ALL);
        CompletableFuture<SearchEngine.Found> wanted =
            search.searchLater(request.string("words"), request.integer("k", 1, 1 << 20), filter(request));
        boolean waits = !wanted.isDone();
        cancelled.cancel(false);
        gate.countDown();
        try {
            return JsonFields.of("found", found(wanted.get()), "waits", waits, "cancelled", cancelled.isCancelled(),
                "searched", search.timings.count("tokenize"));
        } catch (ExecutionException error) {
            return error.getCause().toString();
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    /** A run that is cancelled over its first photo. */
    private Object indexLater() throws IOException {
        decoder.gate = new CountDownLatch(1);
        decoder.reached = new CountDownLatch(1);
        CompletableFuture<Optional<IndexRun.Outcome>> run = search.indexLater();
        await(decoder.reached);
        run.cancel(false);
        decoder.gate.countDown();
        decoder.reached = null;
        try {
            return JsonFields.of("left", search.awaitIndexing(), "photos", search.photos());
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    private static void await(CountDownLatch latch) throws IOException {
        try {
            latch.await();
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
    }

    /**
     * A run, or an {@code estimate}, that is held over its first photo, while something else comes: "index", "instead",
     * an "estimate", a "job" that waits, an "interrupt" of its thread, the "question" whether it indexes; "again" stops it
     * and indexes, "both" are two that index.
     */
    private Object interrupted(JsonFields request) throws IOException {
        decoder.gate = new CountDownLatch(1);
        decoder.reached = new CountDownLatch(1);
        List<Object> outcomes = Collections.synchronizedList(new ArrayList<>());
        Runnable held = request.has("estimate") ? this::estimate : () -> outcomes.add(run(false));
        Thread first = new Thread(held, "first");
        first.start();
        try {
            decoder.reached.await();
            Thread second = null;
            Thread third = null;
            if (request.string("by").equals("index")) {
                second = waiting(() -> outcomes.add(run(false)));
            } else if (request.string("by").equals("estimate")) {
                search.estimate();
            } else if (request.string("by").equals("interrupt")) {
                first.interrupt();
            } else if (request.string("by").equals("question")) {
                outcomes.add(search.isIndexing());
            } else if (request.string("by").equals("again")) {
                search.stopIndexing();
                second = waiting(() -> outcomes.add(run(false)));
            } else if (request.string("by").equals("both")) {
                second = waiting(() -> outcomes.add(run(false)));
                third = waiting(() -> outcomes.add(run(false)));
            } else {
                boolean job = request.string("by").equals("job");
                if (request.has("heard")) {
                    hearAfter(first, outcomes);
                }
                second = waiting(() -> outcomes.add(job ? joined() : run(true)));
            }
            if (request.has("then")) {
                Files.copy(Paths.get(request.string("then")), Paths.get(request.string("phone")),
                    StandardCopyOption.REPLACE_EXISTING);
            }
            if (request.has("stop")) {
                search.stopIndexing();
            }
            decoder.gate.countDown();
            first.join();
            if (second != null) {
                second.join();
            }
            if (third != null) {
                third.join();
            }
        } catch (InterruptedException error) {
            throw new IOException(error);
        }
        decoder.reached = null;
        return outcomes;
    }

    /** A thread that waits by now, or is through. */
    private static Thread waiting(Runnable task) {
        Thread thread = new Thread(task, "second");
        thread.start();
        while (thread.isAlive() && thread.getState() != Thread.State.WAITING) {
            Thread.onSpinWait();
        }
        return thread;
    }

    /** Tell whether the second run is said to run, as it begins, once nothing more comes of the first. */
    private void hearAfter(Thread first, List<Object> outcomes) {
        Runnable[] listener = {null};
        listener[0] = () -> {
            if (Thread.currentThread().getName().equals("second")) {
                search.removeListener(listener[0]);
                try {
                    first.join();
                } catch (InterruptedException error) {
                    throw new IllegalStateException(error);
                }
                outcomes.add(search.indexing().running());
            }
        };
        search.addListener(listener[0]);
    }

    private void estimate() {
        try {
            search.count();
            search.estimate();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    private Object joined() {
        Object outcome = run(false);
        try {
            boolean left = search.awaitIndexing();
            return outcome + ", then " + (search.isIndexing() ? "running" : "over") + (left ? ", not done" : "");
        } catch (InterruptedException error) {
            return error.toString();
        }
    }

    private Object run(boolean instead) {
        try {
            return instead ? outcome(Optional.of(search.indexInstead(() -> true))) : outcome(search.index());
        } catch (IOException error) {
            return error.toString();
        }
    }

    private Object outcome(Optional<IndexRun.Outcome> ended) throws IOException {
        if (!ended.isPresent()) {
            return "joined";
        }
        IndexRun.Outcome outcome = ended.get();
        return JsonFields.of("added", outcome.added(), "moved", outcome.moved(), "deleted", outcome.deleted(), "skipped",
            outcome.skipped(), "left", outcome.left(), "unread", outcome.unread(), "photos", outcome.photos(), "rebuilt", outcome.rebuilt(),
            "opened", phone.opened.get(), "searchable", search.photos());
    }

    private static Filter filter(JsonFields request) throws IOException {
        return new Filter(
            request.has("folders") ? new HashSet<>(request.list("folders", String.class)) : Collections.emptySet(),
            request.has("from_ms") ? request.integer("from_ms") : Long.MIN_VALUE,
            request.has("until_ms") ? request.integer("until_ms") : Long.MAX_VALUE,
            Filter.Kind.valueOf(request.has("kind") ? request.string("kind") : "ANY"),
            request.has("place") ? request.string("place") : "");
    }

    private Object state() {
        Indexing state = search.indexing();
        return JsonFields.of("per_minute", state.perMinute(), "minutes", state.minutesLeft(), "lists", phone.lists.get(), "asked",
            phone.asked.get(), "running", state.running(), "changing", state.changing(), "counted",
            state.isCounted(), "done", state.done(), "total",
            state.total(), "left", state.left(), "skipped", state.skipped(), "rebuilt", state.rebuilt(), "failure",
            state.failure() == null ? null : state.failure().name(), "read", state.read(), "to_read", state.toRead());
    }

    private static Object found(SearchEngine.Found found) {
        List<Object> paths = new ArrayList<>();
        List<Object> scores = new ArrayList<>();
        List<Object> copies = new ArrayList<>();
        List<Object> moments = new ArrayList<>();
        List<Object> matched = new ArrayList<>();
        for (SearchEngine.Result result : found.results()) {
            paths.add(result.path());
            scores.add(result.score());
            copies.add(result.copies());
            moments.add(result.atMs() < 0 ? null : result.moments());
            matched.add(result.matched().stream().map(match -> match.source() + ": " + match.line()).toArray());
        }
        return JsonFields.of("paths", paths, "scores", scores, "copies", copies, "moments", moments, "matched", matched, "truncated", found.truncated(), "unknown",
            found.unknown());
    }

    private static Object rung(Ladder.LoadedRung loaded) {
        if (loaded == null) {
            return null;
        }
        List<Object> skipped = new ArrayList<>();
        for (Ladder.Skipped reason : loaded.skipped()) {
            skipped.add(reason.reason().name() + " " + reason.step());
        }
        return JsonFields.of("runs", loaded.toString(), "skipped", skipped);
    }
}
