package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.BaseProbe;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.index.Hits;
import io.github.mcadmobile.engine.index.IndexProbe;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.Membership;
import io.github.mcadmobile.engine.index.PassingRows;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.index.RowNumbers;
import io.github.mcadmobile.engine.photos.Exif;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.PhotoBytes;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.reading.Reader;
import io.github.mcadmobile.engine.reading.ReadingProbe;
import io.github.mcadmobile.engine.text.Tokenizer;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Quarantine;
import io.github.mcadmobile.engine.towers.TowerProbe;
import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.Match;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.engine.words.Places;
import io.github.mcadmobile.gallery.ScreenProbe;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * The Java engine, asked from Python: one JSON request a line on standard input, one JSON answer a line on standard
 * output. Arrays go through files of raw little-endian float32.
 */
final class Probe {
    private final PhotoDecoder decoder = new ImageIoDecoder();
    private final Map<String, Ladder.LoadedRung> towers = new LinkedHashMap<>();

    private Probe() {}

    public static void main(String[] arguments) throws IOException {
        PrintStream out = new PrintStream(System.out, true, "UTF-8");
        Probe probe = new Probe();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.println(JsonFields.write(JsonFields.of("answer", probe.answer(line))));
        }
    }

    private Object answer(String line) {
        try {
            return answer(JsonFields.parse(line, "request", "Fix the test."));
        } catch (McadException error) {
            return JsonFields.of("error", error.message, "hint", error.hint, "kind", error.kind.name());
        } catch (IllegalArgumentException error) {
            return JsonFields.of("error", error.getMessage(), "hint", "");
        } catch (IOException | RuntimeException | LinkageError error) {
            return JsonFields.of("error", error.toString(), "hint", "unforeseen");
        }
    }

    private Object answer(JsonFields request) throws IOException {
        switch (request.string("do")) {
            case "bundle":
                Bundle bundle = Bundle.load(Paths.get(request.string("bundle")), true);
                return JsonFields.of("name", bundle.name, "dim", bundle.dim, "files", bundle.files().size(), "english",
                    bundle.isEnglish());
            case "bundle_values":
                return PublicValues.of(Bundle.load(Paths.get(request.string("bundle")), false));
            case "install":
                Path from = Paths.get(request.string("from"));
                BundleInstaller.Source source = Files.isDirectory(from) ? BundleInstaller.folder(from) : BundleInstaller.zip(from);
                Path into = Paths.get(request.string("bundle"));
                return JsonFields.of("name", request.has("chip")
                    ? BundleInstaller.install(source, into, (other, old) -> BundleInstaller.deleteTree(old),
                        request.string("chip")).name
                    : BundleInstaller.install(source, into).name);
            case "json":
                return BaseProbe.json(request);
            case "orientation":
                Path turned = Paths.get(request.string("photo"));
                return JsonFields.of("value", Exif.orientation(Files.newInputStream(turned)), "read",
                    Exif.isRead(Files.newInputStream(turned)));
            case "coordinates":
                double[] at = Exif.coordinates(Files.newInputStream(Paths.get(request.string("photo"))));
                return at == null ? List.of() : List.of(at[0], at[1]);
            case "places":
                Places places = new Places(Paths.get(request.string("table")));
                List<Object> near = new ArrayList<>();
                for (JsonFields point : request.objects("points")) {
                    near.add(places.near(point.number("north"), point.number("east")));
                }
                return near;
            case "photo_bytes":
                return photoBytes(request);
            case "upright":
                int stored = request.integer("orientation", 1, 8);
                return JsonFields.of("degrees", Exif.degrees(stored), "mirrored", Exif.mirrored(stored));
            case "tokens":
                return tokens(request);
            case "pixels":
                return pixels(request);
            case "embed_pixels":
                return embedPixels(request);
            case "embed_photos":
                return embedPhotos(request);
            case "read_texts":
                return readTexts(request);
            case "embed_texts":
                return embedTexts(request);
            case "index_read":
                return indexRead(request);
            case "index_search":
                return indexSearch(request);
            case "index_change":
                return indexChange(request);
            case "index_words":
                return indexWords(request);
            case "fold":
                return request.list("texts", String.class).stream().map(Folding::fold).collect(Collectors.toList());
            case "index_order":
                List<String> paths = new ArrayList<>(request.list("paths", String.class));
                paths.sort(Membership::order);
                return paths;
            case "index_old_rows":
                return oldRows(request);
            case "index_rows_of_another":
                return rowsOfAnother(request);
            case "index_writer_again":
                return writerAgain(request);
            case "index_second_writer":
                return secondWriter(request);
            case "index_run":
                return GalleryProbe.indexRun(request);
            case "life":
                return LifeProbe.answer(request);
            case "home":
                return ScreenProbe.home(request);
            case "shown_results":
                return ScreenProbe.shownResults(request);
            case "tiles":
                return ScreenProbe.tiles(request);
            case "media_path":
                return ScreenProbe.mediaPath(request);
            case "period":
                return ScreenProbe.period(request);
            case "albums":
                return ScreenProbe.albums(request);
            case "folder":
                return ScreenProbe.folder(request);
            case "throughput":
                return ScreenProbe.throughput(request);
            case "search_box":
                return GalleryProbe.searchBox(request);
            case "access":
                return GalleryProbe.access(request);
            case "refusals":
                return GalleryProbe.refusals(request);
            case "current_index":
                return GalleryProbe.currentIndex(request);
            case "search":
                return search(request);
            case "more_like":
                try (PhotoIndex index = PhotoIndex.open(Paths.get(request.string("index")))) {
                    int k = request.integer("k", 1, 1 << 20);
                    return found(SearchEngine.moreLike(index, request.string("path"), k, null));
                }
            case "memory":
                return BaseProbe.memory(request);
            case "options":
                return TowerProbe.options(request);
            case "saturates":
                return TowerProbe.saturates();
            case "qnn":
                return TowerProbe.qnn(request);
            case "reductions":
                return reductions(request);
            case "timings":
                return GalleryProbe.timings(request);
            case "choose_rung":
                Ladder.LoadedRung loaded = chooseRung(request, request.string("tower"));
                return JsonFields.of("rung", loaded.tower().rung.precision(), "runtime", loaded.tower().rung.runtime(),
                    "provider", loaded.tower().provider.name(), "cosine", loaded.cosine(), "skipped",
                    skipped(loaded));
            default:
                throw new McadException("Unknown request.", "Fix the test.");
        }
    }

    private static Bundle bundle(JsonFields request) throws IOException {
        return Bundle.load(Paths.get(request.string("bundle")), false)
            .forLanguage(request.has("language") ? request.string("language") : "en");
    }

    private static Object tokens(JsonFields request) throws IOException {
        Tokenizer tokenizer = Tokenizer.of(bundle(request));
        List<Object> all = new ArrayList<>();
        for (String text : request.list("texts", String.class)) {
            Tokenizer.Tokens tokens = tokenizer.tokenize(text);
            List<Integer> ids = new ArrayList<>();
            int masked = 0;
            for (int i = 0; i < tokens.ids().length; i++) {
                ids.add(tokens.ids()[i]);
                masked += (int) tokens.mask()[i];
            }
            List<Float> pooling = new ArrayList<>();
            for (float weight : tokens.pooling()) {
                pooling.add(weight);
            }
            all.add(JsonFields.of("ids", ids, "tokens", masked, "pooling", pooling, "truncated", tokens.truncated(),
                "unknown", tokenizer.unknownWords(text)));
        }
        return all;
    }

    private Object pixels(JsonFields request) throws IOException {
        Bundle bundle = bundle(request);
        List<float[]> rows = new ArrayList<>();
        for (String photo : request.list("photos", String.class)) {
            rows.add(bundle.preprocess.pixels(decoder, () -> Files.newInputStream(Paths.get(photo))));
        }
        return write(rows, request);
    }

    private Object embedPixels(JsonFields request) throws IOException {
        Bundle bundle = bundle(request);
        int width = 3 * bundle.preprocess.size * bundle.preprocess.size;
        List<float[]> rows = new ArrayList<>();
        for (float[] pixels : SearchBenchmark.read(request.string("pixels"), width)) {
            rows.add(chooseRung(request, "image").tower().run(Collections.singletonMap("pixels", pixels)));
        }
        return write(rows, request);
    }

    private Object readTexts(JsonFields request) throws IOException {
        List<Object> read = new ArrayList<>();
        try (SearchEngine engine = new SearchEngine(bundle(request), 1, Collections.emptyList())) {
            Reader reader = request.has("fixed") ? ReadingProbe.ofFixedShapes(engine.bundle) : engine.reader();
            for (String path : request.list("photos", String.class)) {
                PhotoDecoder.Source source = () -> Files.newInputStream(Paths.get(path));
                List<Object> lines = new ArrayList<>();
                try (Photo photo = decoder.decode(source, Reader.AT_LEAST)) {
                    for (PhotoWords.Line line : reader.read(Reader.upright(photo))) {
                        lines.add(List.of(line.text(), line.box()));
                    }
                }
                read.add(lines);
            }
        }
        return read;
    }

    private Object embedPhotos(JsonFields request) throws IOException {
        Bundle bundle = bundle(request);
        List<float[]> rows = new ArrayList<>();
        for (String photo : request.list("photos", String.class)) {
            float[] pixels = bundle.preprocess.pixels(decoder, () -> Files.newInputStream(Paths.get(photo)));
            rows.add(chooseRung(request, "image").tower().run(Collections.singletonMap("pixels", pixels)));
        }
        return write(rows, request);
    }

    private Object embedTexts(JsonFields request) throws IOException {
        Tokenizer tokenizer = Tokenizer.of(bundle(request));
        List<float[]> rows = new ArrayList<>();
        for (String text : request.list("texts", String.class)) {
            rows.add(chooseRung(request, "text").tower().run(tokenizer.inputs(tokenizer.tokenize(text))));
        }
        return write(rows, request);
    }

    private Ladder.LoadedRung chooseRung(JsonFields request, String tower) throws IOException {
        String key = tower + " " + request.string("bundle");
        Ladder.LoadedRung loaded = towers.get(key);
        if (loaded == null) {
            List<File> libraries = new ArrayList<>();
            if (request.has("libraries")) {
                libraries.add(new File(request.string("libraries")));
            }
            int threads = request.has("threads") ? request.integer("threads", 1, 64) : 1;
            String chip = request.has("chip") ? request.string("chip") : "";
            Ladder ladder = new Ladder(bundle(request), threads, libraries, false, Quarantine.NONE, chip);
            loaded = ladder.chooseRung(tower);
            towers.put(key, loaded);
        }
        return loaded;
    }

    private static List<Object> skipped(Ladder.LoadedRung loaded) {
        List<Object> all = new ArrayList<>();
        for (Ladder.Skipped skipped : loaded.skipped()) {
            all.add(Arrays.asList(skipped.reason().name(), skipped.toString()));
        }
        return all;
    }

    /** Queries, each searched for as the app does. */
    private static Object search(JsonFields request) throws IOException {
        List<Object> all = new ArrayList<>();
        try (SearchEngine engine = new SearchEngine(bundle(request), 1, Collections.emptyList());
                PhotoIndex index = PhotoIndex.open(Paths.get(request.string("index")))) {
            PassingRows rows = request.has("place")
                ? index.rows(new RowNumbers(key -> 1), number -> true, request.string("place")) : null;
            SearchEngine.Channel by = SearchEngine.Channel.valueOf(request.has("by") ? request.string("by") : "BOTH");
            for (String query : request.list("queries", String.class)) {
                all.add(found(engine.search(index, query, request.integer("k", 0, 1 << 20), rows, by)));
            }
        }
        return all;
    }

    private static Object found(SearchEngine.Found found) {
        List<Object> paths = new ArrayList<>();
        List<Object> scores = new ArrayList<>();
        List<Object> matched = new ArrayList<>();
        for (SearchEngine.Result result : found.results()) {
            paths.add(result.path());
            scores.add(result.score());
            List<Object> of = new ArrayList<>();
            for (Match match : result.matched()) {
                of.add(JsonFields.of("source", match.source(), "words", match.words(), "line", match.line(), "box", match.box()));
            }
            matched.add(of);
        }
        return JsonFields.of("paths", paths, "scores", scores, "matched", matched);
    }

    private static Object reductions(JsonFields request) throws IOException {
        int width = request.integer("width", 1, 1 << 30);
        int height = request.integer("height", 1, 1 << 30);
        return JsonFields.of("display", PhotoDecoder.displayReduction(width, height, request.integer("side", 1, 1 << 20)),
            "sampling", PhotoDecoder.sampling(width, height, request.integer("pixels")), "reduction",
            PhotoDecoder.reduction(width, height, request.integer("side", 0, 1 << 20)));
    }

    /** The bytes of a file as a photo's are read that is listed with so many, and whether they are kept. */
    private static Object photoBytes(JsonFields request) throws IOException {
        PhotoDecoder.Source file = () -> Files.newInputStream(Paths.get(request.string("file")));
        PhotoDecoder.Source read = PhotoBytes.of(file, request.integer("listed"));
        ByteBuffer whole = PhotoBytes.whole(read);
        byte[] bytes = new byte[whole.remaining()];
        whole.get(bytes);
        return JsonFields.of("kept", read != file, "read", Bundle.sha256(read.open()), "whole",
            Bundle.sha256(new ByteArrayInputStream(bytes)));
    }

    private static Object indexRead(JsonFields request) throws IOException {
        try (PhotoIndex index = PhotoIndex.open(Paths.get(request.string("index")))) {
            if (request.has("verify")) {
                index.verify();
            }
            List<float[]> rows = new ArrayList<>();
            List<String> paths = new ArrayList<>();
            List<Object> stamps = new ArrayList<>();
            Membership photos = index.membership();
            while (photos.next()) {
                paths.add(photos.path());
                stamps.add(Arrays.asList(photos.stamp() & 0xffffffffL, photos.contentStamp() & 0xffffffffL));
                rows.add(index.embedding(photos.path()));
            }
            if (!rows.isEmpty()) {
                write(rows, request);
            }
            return JsonFields.of("photos", index.photos(), "dim", index.dim(), "bytes_per_photo", index.bytesPerPhoto(),
                "paths", paths, "stamps", stamps);
        }
    }

    private static Object indexSearch(JsonFields request) throws IOException {
        try (PhotoIndex index = PhotoIndex.open(Paths.get(request.string("index")))) {
            List<Object> all = new ArrayList<>();
            int k = request.integer("k", 0, Integer.MAX_VALUE);
            PassingRows rows = request.has("among") ? rows(index, request.list("among", String.class)) : null;
            if (request.has("cut")) {
                try (FileChannel file = FileChannel.open(Paths.get(request.string("cut")), StandardOpenOption.WRITE)) {
                    file.truncate(request.integer("bytes", 0, Integer.MAX_VALUE));
                }
            }
            if (request.has("gone")) {
                for (String file : request.list("gone", String.class)) {
                    Files.delete(Paths.get(file));
                }
            }
            for (float[] query : SearchBenchmark.read(request.string("queries"), index.dim())) {
                Hits hits = rows == null ? index.search(query, k, request.flag("exact")) : index.search(query, k, rows);
                List<Float> scores = new ArrayList<>();
                for (float score : hits.scores()) {
                    scores.add(score);
                }
                all.add(JsonFields.of("paths", Arrays.asList(hits.paths()), "scores", scores));
            }
            return all;
        }
    }

    /** The words of photos; null for one that has none. */
    private static Object indexWords(JsonFields request) throws IOException {
        try (PhotoIndex index = PhotoIndex.open(Paths.get(request.string("index")))) {
            List<Object> all = new ArrayList<>();
            for (String path : request.list("paths", String.class)) {
                PhotoWords words = index.words(path);
                List<Object> lines = new ArrayList<>();
                for (PhotoWords.Line line : words == null ? List.<PhotoWords.Line>of() : words.lines()) {
                    lines.add(JsonFields.of("text", line.text(), "box", line.box()));
                }
                all.add(words == null ? null : JsonFields.of("lines", lines, "places", words.places(), "read", words.read()));
            }
            return all;
        }
    }

    private static void setWords(JsonFields request, IndexWriter writer) throws IOException {
        for (JsonFields photo : request.has("words") ? request.objects("words") : List.<JsonFields>of()) {
            writer.setWords(photo.string("path"), words(photo));
        }
    }

    private static PhotoWords words(JsonFields photo) throws IOException {
        List<PhotoWords.Line> lines = new ArrayList<>();
        for (JsonFields line : photo.objects("lines")) {
            List<Integer> box = line.list("box", Long.class).stream().map(Long::intValue).collect(Collectors.toList());
            lines.add(new PhotoWords.Line(line.string("text"), box));
        }
        return new PhotoWords(lines, photo.list("places", String.class), photo.flag("read"));
    }

    /** Those of some paths; every other photo has a number, too, that does not pass. */
    private static PassingRows rows(PhotoIndex index, List<String> paths) throws IOException {
        Set<Long> keys = new HashSet<>();
        for (String path : paths) {
            keys.add(RowNumbers.key(path));
        }
        return index.rows(new RowNumbers(key -> keys.contains(key) ? 1 : (int) (key & 1) - 1), number -> number == 1);
    }

    /**
     * One commit: photos to add with their embeddings, to delete, and to move "from" and "to"; "hold" leaves it
     * uncommitted.
     */
    private static Object indexChange(JsonFields request) throws IOException {
        Path directory = Paths.get(request.string("index"));
        int dim = request.integer("dim", 8, 4096);
        int deleted = 0;
        try (PhotoIndex index = PhotoIndex.openOrCreate(directory, dim, "tiny", request.string("student"));
                IndexWriter writer = writer(index, request)) {
            List<String> paths = request.list("paths", String.class);
            List<Long> stamps = request.list("stamps", Long.class);
            List<Long> times = request.has("times") ? request.list("times", Long.class) : Collections.emptyList();
            int at = 0;
            for (float[] embedding : SearchBenchmark.read(request.string("embeddings"), dim)) {
                int time = times.isEmpty() ? Integer.MIN_VALUE : times.get(at).intValue();
                writer.add(paths.get(at), embedding, stamps.get(at).intValue(), 7, time);
                at++;
            }
            for (String path : request.list("delete", String.class)) {
                deleted += writer.delete(path) ? 1 : 0;
            }
            for (String path : request.list("restamp", String.class)) {
                writer.move(path, path, 5, 6);
            }
            setWords(request, writer); // they move along
            List<String> to = request.has("to") ? request.list("to", String.class) : Collections.emptyList();
            List<Boolean> moved = new ArrayList<>();
            for (String path : to) {
                moved.add(writer.move(request.list("from", String.class).get(moved.size()), path, 5, 6));
            }
            setWords(request, writer);
            if (!request.has("hold")) {
                writer.commit();
            }
            return JsonFields.of("photos", index.photos(), "deleted", deleted, "moved", moved);
        }
    }

    private static IndexWriter writer(PhotoIndex index, JsonFields request) throws IOException {
        if (request.has("cells_from")) {
            IndexProbe.cellsFrom(index, request.integer("cells_from", 1, Integer.MAX_VALUE));
        }
        return index.writer();
    }

    /** Rows of one opened index, searched for in another. */
    private static Object oldRows(JsonFields request) throws IOException {
        Path directory = Paths.get(request.string("index"));
        try (PhotoIndex before = PhotoIndex.open(directory); PhotoIndex now = PhotoIndex.open(directory)) {
            float[] query = new float[now.dim()];
            query[0] = 1;
            return now.search(query, 1, before.rows(new RowNumbers(key -> 1), number -> true)).paths().length;
        }
    }

    /** Photos that pass, by one cache of numbers, before and after the directory gets another index with as many. */
    private static Object rowsOfAnother(JsonFields request) throws IOException {
        Path directory = Paths.get(request.string("index"));
        RowNumbers numbers = new RowNumbers(key -> (int) (key & 1));
        List<Object> found = new ArrayList<>();
        for (String path : request.list("paths", String.class)) {
            BundleInstaller.deleteTree(directory);
            float[] embedding = {1, 0, 0, 0, 0, 0, 0, 0};
            try (PhotoIndex index = PhotoIndex.openOrCreate(directory, 8, "tiny", "0")) {
                try (IndexWriter writer = index.writer()) {
                    writer.add(path, embedding, 1, 1);
                    writer.commit();
                }
                int passing = index.search(embedding, 1, index.rows(numbers, odd -> odd == 1)).paths().length;
                found.add(passing == (RowNumbers.key(path) & 1));
            }
        }
        return found;
    }

    /** A writer that finds the manifest damaged, and one that comes when it is whole again. */
    private static Object writerAgain(JsonFields request) throws IOException {
        Path manifest = Paths.get(request.string("index")).resolve("manifest.json");
        byte[] whole = Files.readAllBytes(manifest);
        try (PhotoIndex index = PhotoIndex.open(manifest.getParent())) {
            Files.write(manifest, new byte[0]);
            try {
                index.writer().close();
                return "none was damaged";
            } catch (McadException damaged) {
                Files.write(manifest, whole);
                index.writer().close();
                return damaged.kind.name();
            }
        }
    }

    /** Two writers at once: the second is refused. */
    private static Object secondWriter(JsonFields request) throws IOException {
        Path directory = Paths.get(request.string("index"));
        try (PhotoIndex index = PhotoIndex.open(directory); IndexWriter first = index.writer()) {
            first.delete("x");
            String refused = "";
            try {
                index.writer().close();
            } catch (McadException error) {
                refused = error.getMessage();
            }
            String own = ".* POSIX +ADVISORY +WRITE " + ProcessHandle.current().pid() + " .*";
            boolean locked = Files.readAllLines(Paths.get("/proc/locks")).stream().anyMatch(line -> line.matches(own));
            return JsonFields.of("refused", refused, "locked", locked);
        }
    }

    private static Object write(List<float[]> rows, JsonFields request) throws IOException {
        ByteBuffer out = ByteBuffer.allocate(4 * rows.size() * rows.get(0).length).order(ByteOrder.LITTLE_ENDIAN);
        for (float[] row : rows) {
            for (float value : row) {
                out.putFloat(value);
            }
        }
        Path file = Paths.get(request.string("out"));
        Files.write(file, out.array());
        return JsonFields.of("rows", rows.size());
    }
}
