package io.github.mcadmobile.engine;

import io.github.mcadmobile.engine.base.IoSupplier;
import io.github.mcadmobile.engine.base.Npy;
import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.Hits;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.index.PassingRows;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.Exif;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.photos.Resize;
import io.github.mcadmobile.engine.reading.Detector;
import io.github.mcadmobile.engine.reading.PixelTower;
import io.github.mcadmobile.engine.reading.Reader;
import io.github.mcadmobile.engine.reading.Recognizer;
import io.github.mcadmobile.engine.text.Tokenizer;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Quarantine;
import io.github.mcadmobile.engine.towers.Tower;
import io.github.mcadmobile.engine.words.Match;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.engine.words.Places;
import io.github.mcadmobile.engine.words.Ranking;
import io.github.mcadmobile.engine.words.WordHit;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Searches by words with a bundle's towers, each loaded when first needed. Not thread-safe. */
public final class SearchEngine implements AutoCloseable {
    /**
     * A found photo or video.
     *
     * @param path its indexed path
     * @param score its cosine with the query, or, in a search of words alone, the share of the query that its words
     *     match; of a video, its best moment's
     * @param copies the paths of the near duplicates, also found, that it stands for
     * @param atMs of a video, its best moment in ms; -1 for a photo
     * @param moments of a video, those of its moments that were found, in ms, best first
     * @param matched its words that the query asks for
     */
    public record Result(String path, float score, List<String> copies, long atMs, List<Long> moments, List<Match> matched) {
        public Result(String path, float score) {
            this(path, score, Collections.emptyList());
        }

        private Result(String path, float score, List<Match> matched) {
            this(path, score, Collections.emptyList(), Moments.NONE, Collections.emptyList(), matched);
        }

        /** The path of its row in the index: of a video, that of its best moment. */
        public String row() {
            return atMs == Moments.NONE ? path : Moments.path(path, atMs);
        }
    }

    /** What a search goes by: what photos show, the words that they have, or both, in an index that has words. */
    public enum Channel { BOTH, CONTENT, WORDS }

    /**
     * Results, best first, and the milliseconds of each stage. {@code truncated}: the query was longer than the text
     * tower's input, and its end was cut off. {@code unknown}: its words that the student cannot know, such as words of
     * another script.
     */
    public record Found(List<Result> results, Map<String, Double> ms, boolean truncated, List<String> unknown) {
        /** This search with only these results. */
        public Found with(List<Result> shown) {
            return new Found(shown, ms, truncated, unknown);
        }
    }

    private static final double NS_PER_MS = 1e6;
    private static final double LEAST_SPREAD = 1e-3;

    public final Bundle bundle;
    private final Ladder ladder;
    private final Quarantine quarantine;
    private final Set<String> used = new HashSet<>();
    private Npy typicalPhotos;
    private Places places;
    private Tokenizer tokenizer;
    private Ladder.LoadedRung text;
    private Ladder.LoadedRung image;
    private final List<Ladder.LoadedRung> readerTowers = new ArrayList<>();
    private Reader reader;

    /** {@code libraries}: folders that may hold native libraries of an NPU. */
    public SearchEngine(Bundle bundle, int threads, List<File> libraries) {
        this(bundle, threads, libraries, false, Quarantine.NONE, "");
    }

    /** As above, without the rungs in {@code quarantine}; {@code bulk} and {@code chip} as for {@link Ladder}. */
    public SearchEngine(Bundle bundle, int threads, List<File> libraries, boolean bulk, Quarantine quarantine,
            String chip) {
        this.bundle = bundle;
        this.quarantine = quarantine;
        ladder = new Ladder(bundle, threads, libraries, bulk, quarantine, chip);
    }

    /** Be told why a tower that is loaded from now on does not run on the NPU. */
    public void onNpuUnused(Ladder.NpuListener listener) {
        ladder.onNpuUnused(listener);
    }

    /** Load tokenizer and text tower, so that the first search is as fast as later ones. */
    public void warmUp() throws IOException {
        tokenizer();
        textTower();
    }

    public Tokenizer tokenizer() throws IOException {
        if (tokenizer == null) {
            tokenizer = Tokenizer.of(bundle);
        }
        return tokenizer;
    }

    public Ladder.LoadedRung textTower() throws IOException {
        if (text == null) {
            text = ladder.chooseRung(bundle.textTower);
        }
        return text;
    }

    public Ladder.LoadedRung imageTower() throws IOException {
        if (image == null) {
            image = ladder.chooseRung("image");
        }
        return image;
    }

    /** Null before it is loaded. */
    public Ladder.@Nullable LoadedRung loadedImageTower() {
        return image;
    }

    /** Embed words: [dim] float32, of unit length. */
    public float[] embedText(String query) throws IOException {
        return embed(tokenizer().tokenize(query));
    }

    private float[] embed(Tokenizer.Tokens tokens) throws IOException {
        return withQuarantine(bundle.textTower, textTower(), () -> embed(textTower().tower(), tokenizer, tokens));
    }

    /** Embed pixels from the bundle's preprocess: [dim] float32, of unit length. */
    public float[] embedPixels(float[] pixels) throws IOException {
        return withQuarantine("image", imageTower(),
            () -> Vectors.normalized(imageTower().tower().run(Collections.singletonMap("pixels", pixels))));
    }

    /** The words that a photo has before it is read: those of its place. Null if the bundle reads no words. */
    public @Nullable PhotoWords wordsOf(PhotoDecoder.Source photo) throws IOException {
        if (bundle.reader == null) {
            return null;
        }
        double[] at = null;
        if (bundle.reader.places() != null) {
            places = places == null ? new Places(bundle.path(bundle.reader.places())) : places;
            try (InputStream in = photo.open()) {
                at = Exif.coordinates(in);
            }
        }
        return new PhotoWords(List.of(), at == null ? List.of() : places.near(at[0], at[1]), false);
    }

    /** The text in a photo of {@link Reader#upright}, line by line. McadException if the bundle has no reader. */
    public List<PhotoWords.Line> readText(Resize.Rgb photo) throws IOException {
        return reader().read(photo);
    }

    /** Loads what reads, as the first {@link #readText} does. */
    public Reader reader() throws IOException {
        if (reader == null) {
            closeReader();
            PixelTower detector = readerTower("detector");
            PixelTower recognizer = readerTower("recognizer");
            String[] characters = new String(
                Files.readAllBytes(bundle.path(bundle.reader.characters())), StandardCharsets.UTF_8).split("\n", -1);
            boolean ends = characters[characters.length - 1].isEmpty();
            List<String> known = Arrays.asList(characters).subList(0, characters.length - (ends ? 1 : 0));
            reader = new Reader(new Detector(detector, isFixed(0)), new Recognizer(recognizer, known, isFixed(1)));
        }
        return reader;
    }

    private PixelTower readerTower(String name) throws IOException {
        Ladder.LoadedRung loaded = ladder.chooseRung(name);
        readerTowers.add(loaded);
        return (pixels, height, width) -> withQuarantine(name, loaded, () -> loaded.tower().run(pixels, height, width));
    }

    /** Whether a tower of the reader takes no other shapes than the bundle's. */
    private boolean isFixed(int tower) {
        return !readerTowers.get(tower).tower().rung.runtime().equals("onnx");
    }

    /** Embed a photo file: [dim] float32, of unit length. IOException if it cannot be read or decoded. */
    public float[] embedPhoto(PhotoDecoder decoder, PhotoDecoder.Source source) throws IOException {
        return embedPixels(bundle.preprocess.pixels(decoder, source));
    }

    /** The {@code k} photos nearest to {@code query}. McadException if it is empty. */
    public Found search(PhotoIndex index, String query, int k) throws IOException {
        return search(index, query, k, null);
    }

    /** As above, among {@code rows} only; null for all. */
    public Found search(PhotoIndex index, String query, int k, @Nullable PassingRows rows) throws IOException {
        return search(index, query, k, rows, Channel.BOTH);
    }

    /** As above, by one channel alone, or by both. McadException for words in an index that has none. */
    public Found search(PhotoIndex index, String query, int k, @Nullable PassingRows rows, Channel by) throws IOException {
        if (by == Channel.WORDS) {
            return searchWords(index, query, k, rows);
        }
        warmUp();
        Ranker ranker = by == Channel.CONTENT ? null : ranker(index, query, rows);
        return search(tokenizer, this::embed, index, query, k, rows, ranker);
    }

    private static Found searchWords(PhotoIndex index, String query, int k, @Nullable PassingRows rows) throws IOException {
        long started = System.nanoTime();
        if (!index.hasWords()) {
            throw new McadException("The index holds no words of photos.", "Search for what photos show.");
        }
        if (query.trim().isEmpty()) {
            throw new McadException("The query has no words.", "Give one or more.");
        }
        List<Result> found = new ArrayList<>();
        for (WordHit hit : index.searchWords(query, k, rows, null)) {
            found.add(new Result(hit.path(), (float) hit.share(), hit.matches()));
        }
        double ms = (System.nanoTime() - started) / NS_PER_MS;
        return new Found(files(found), Map.of("words", ms, "total", ms), false, Collections.emptyList());
    }

    /** Ranks photos that an embedding found, and more that words find, best first. */
    private interface Ranker {
        List<Result> rank(float[] embedding, List<Result> found, int asked) throws IOException;
    }

    /** By the words of a query; null if there are none. */
    private @Nullable Ranker ranker(PhotoIndex index, String query, @Nullable PassingRows rows) throws IOException {
        if (!index.hasWords() || query.trim().isEmpty()) {
            return null;
        }
        typicalPhotos(); // loaded before the query is timed
        return (embedding, found, asked) -> {
            Map<String, Result> known = new LinkedHashMap<>();
            for (Result result : found) {
                known.put(result.path, result);
            }
            double spread = spread(embedding);
            Map<String, Double> gains = new HashMap<>();
            for (WordHit hit : index.searchWords(query, asked, rows, embedding)) {
                float cosine = known.containsKey(hit.path()) ? known.get(hit.path()).score : hit.cosine();
                known.put(hit.path(), new Result(hit.path(), cosine, hit.matches()));
                gains.put(hit.path(), Ranking.gain(hit.share(), spread));
            }
            List<Result> ranked = new ArrayList<>(known.values());
            ranked.sort(Comparator.comparing(result -> -result.score - gains.getOrDefault(result.path, 0.0)));
            return ranked;
        };
    }

    /** As above, with a tokenizer and a text tower that are already loaded. */
    public static Found search(Tokenizer tokenizer, Tower tower, PhotoIndex index, String query, int k)
            throws IOException {
        return search(tokenizer, tokens -> embed(tower, tokenizer, tokens), index, query, k, null, null);
    }

    private interface TextEmbedder {
        float[] embed(Tokenizer.Tokens tokens) throws IOException;
    }

    private static Found search(Tokenizer tokenizer, TextEmbedder embedder, PhotoIndex index, String query, int k,
            @Nullable PassingRows rows, @Nullable Ranker ranker) throws IOException {
        long started = System.nanoTime();
        Tokenizer.Tokens tokens = tokenizer.tokenize(query);
        long tokenized = System.nanoTime();
        float[] embedding = embedder.embed(tokens);
        long embedded = System.nanoTime();
        Nearest nearest = nearest(index, embedding, k, rows, ranker);
        long done = System.nanoTime();
        Map<String, Double> ms = new LinkedHashMap<>();
        ms.put("tokenize", (tokenized - started) / NS_PER_MS);
        ms.put("text", (embedded - tokenized) / NS_PER_MS);
        ms.putAll(times(nearest, started));
        ms.put("total", (done - started) / NS_PER_MS);
        return new Found(nearest.files, ms, tokens.truncated(), tokenizer.unknownWords(query));
    }

    /** {@code wordsMs} is below 0 for a search without words. */
    private record Nearest(Hits hits, double wordsMs, List<Result> files) {}

    /** The {@code k} nearest files. Moments of a video that was found may crowd out others. */
    private static Nearest nearest(PhotoIndex index, float[] embedding, int k, @Nullable PassingRows rows,
            @Nullable Ranker ranker) throws IOException {
        for (int asked = k;; asked = (int) Math.min(4L * asked, Integer.MAX_VALUE / 2)) {
            Hits hits = rows == null ? index.search(embedding, asked) : index.search(embedding, asked, rows);
            List<Result> found = new ArrayList<>();
            for (int i = 0; i < hits.paths().length; i++) {
                found.add(new Result(hits.paths()[i], hits.scores()[i]));
            }
            double wordsMs = -1;
            if (ranker != null) {
                long started = System.nanoTime();
                found = ranker.rank(embedding, found, asked);
                wordsMs = (System.nanoTime() - started) / NS_PER_MS;
            }
            List<Result> files = files(found);
            if (files.size() >= k || hits.paths().length < asked) {
                return new Nearest(hits, wordsMs, files.subList(0, Math.min(k, files.size())));
            }
        }
    }

    /** The {@code k} photos nearest to an embedding [dim] of unit length, such as that of a photo not in the index. */
    public static Found moreLike(PhotoIndex index, float[] embedding, int k, @Nullable PassingRows rows)
            throws IOException {
        return moreLike(index, embedding, k, rows, null);
    }

    private static Found moreLike(PhotoIndex index, float[] embedding, int k, @Nullable PassingRows rows,
            @Nullable Ranker ranker) throws IOException {
        long started = System.nanoTime();
        Nearest nearest = nearest(index, embedding, k, rows, ranker);
        return new Found(nearest.files, times(nearest, started), false, Collections.emptyList());
    }

    /**
     * The {@code k} photos most like an indexed photo, or like the moment of a {@link Result#row}, without it.
     * McadException if it is not indexed.
     */
    public static Found moreLike(PhotoIndex index, String path, int k, @Nullable PassingRows rows) throws IOException {
        return without(Moments.file(path), moreLike(index, embedding(index, path), k + 1, rows), k);
    }

    /** Photos that are like an indexed photo and fit the words: like this photo, but at night. */
    public Found moreLike(PhotoIndex index, String path, String words, int k, @Nullable PassingRows rows)
            throws IOException {
        return search(index, Arrays.asList(QueryPart.photo(path, 1), QueryPart.words(words, 1)), k, rows);
    }

    /**
     * The {@code k} photos that fit weighted words and photos best, without the query's own photos. McadException if
     * there is no part, a photo is not indexed, or the parts cancel out.
     */
    public Found search(PhotoIndex index, List<QueryPart> parts, int k, @Nullable PassingRows rows)
            throws IOException {
        if (parts.isEmpty()) {
            throw new McadException("The query has no parts.", "Give words or a photo.");
        }
        List<float[]> embeddings = new ArrayList<>();
        float[] weights = new float[parts.size()];
        Set<String> photos = new HashSet<>();
        Set<String> unknown = new LinkedHashSet<>();
        List<String> wanted = new ArrayList<>();
        boolean truncated = false;
        for (QueryPart part : parts) {
            weights[embeddings.size()] = part.weight();
            if (part.isPhoto()) {
                photos.add(Moments.file(part.content()));
                embeddings.add(embedding(index, part.content()));
            } else {
                truncated |= tokenizer().tokenize(part.content()).truncated();
                unknown.addAll(tokenizer().unknownWords(part.content()));
                embeddings.add(embedText(part.content()));
                if (part.weight() > 0) {
                    wanted.add(part.content());
                }
            }
        }
        Found found = moreLike(index, compose(embeddings, weights), k + photos.size(), rows,
            ranker(index, String.join(" ", wanted), rows));
        List<Result> results = new ArrayList<>(found.results());
        results.removeIf(result -> photos.contains(result.path()));
        List<Result> nearest = results.subList(0, Math.min(k, results.size()));
        return new Found(nearest, found.ms(), truncated, new ArrayList<>(unknown));
    }

    /** Photos that are like a photo with this embedding [dim] and fit the words. */
    public Found moreLike(PhotoIndex index, float[] embedding, String words, int k, @Nullable PassingRows rows)
            throws IOException {
        Found found = moreLike(
            index, compose(Arrays.asList(embedding, embedText(words)), new float[] {1, 1}), k, rows,
            ranker(index, words, rows));
        boolean truncated = tokenizer().tokenize(words).truncated();
        return new Found(found.results(), found.ms(), truncated, tokenizer().unknownWords(words));
    }

    private static float[] embedding(PhotoIndex index, String path) throws IOException {
        float[] embedding = index.embedding(path);
        if (embedding == null) {
            throw new McadException(McadException.Kind.NOT_INDEXED, "The index does not hold " + path + ".",
                "Wait until it is indexed.", null);
        }
        return Vectors.normalized(embedding);
    }

    private static Found without(String path, Found found, int k) {
        List<Result> results = new ArrayList<>();
        for (Result result : found.results()) {
            if (!result.path().equals(path) && results.size() < k) {
                results.add(result);
            }
        }
        return found.with(results);
    }

    /**
     * Combine weighted embeddings [dim] into one query [dim] of unit length. Cosines between photos spread more than
     * cosines with words, so each part is divided by its spread over the bundle's sample, as in
     * mcad_mobile/engine/query.py. McadException if the parts cancel out.
     */
    public float[] compose(List<float[]> parts, float[] weights) throws IOException {
        if (parts.size() == 1 && weights[0] > 0) {
            return parts.get(0);
        }
        float[] total = new float[parts.get(0).length];
        for (int number = 0; number < weights.length; number++) {
            float[] part = parts.get(number);
            double spread = Math.max(spread(part), LEAST_SPREAD);
            for (int i = 0; i < total.length; i++) {
                total[i] += (float) (part[i] * weights[number] / spread);
            }
        }
        double length = 0;
        for (float number : total) {
            length += (double) number * number;
        }
        if (Math.sqrt(length) < LEAST_SPREAD) {
            throw new McadException("The parts of the query cancel out.",
                "Search for something other than what you exclude.");
        }
        return Vectors.normalized(total);
    }

    private Npy typicalPhotos() throws IOException {
        if (typicalPhotos == null) {
            typicalPhotos = Npy.read(bundle.path(bundle.sample));
        }
        return typicalPhotos;
    }

    /** The standard deviation of an embedding's cosines with the bundle's sample. */
    private double spread(float[] embedding) throws IOException {
        Npy sample = typicalPhotos();
        double sum = 0;
        double squares = 0;
        for (int i = 0; i < sample.rows(); i++) {
            double cosine = Vectors.cosine(sample.floats(i), embedding);
            sum += cosine;
            squares += cosine * cosine;
        }
        double mean = sum / sample.rows();
        return Math.sqrt(Math.max(0, squares / sample.rows() - mean * mean));
    }

    private static Map<String, Double> times(Nearest nearest, long started) {
        Map<String, Double> ms = new HashMap<>();
        ms.put("scan", nearest.hits.scanMs());
        ms.put("rescore", nearest.hits.rescoreMs());
        if (nearest.wordsMs >= 0) {
            ms.put("words", nearest.wordsMs);
        }
        ms.put("total", (System.nanoTime() - started) / NS_PER_MS);
        return ms;
    }

    /** Quarantine the rung if the first use of its tower crashes the process. */
    private <T> T withQuarantine(String tower, Ladder.LoadedRung loaded, IoSupplier<T> work) throws IOException {
        if (used.contains(tower)) {
            return work.get();
        }
        quarantine.begin(tower, loaded.toString());
        try {
            T done = work.get();
            used.add(tower);
            quarantine.trust(tower, loaded.toString());
            return done;
        } finally {
            quarantine.end(tower);
        }
    }

    private static float[] embed(Tower tower, Tokenizer tokenizer, Tokenizer.Tokens tokens) throws IOException {
        return Vectors.normalized(tower.run(tokenizer.inputs(tokens)));
    }

    /** The files of rows, each video once. */
    private static List<Result> files(List<Result> rows) {
        Map<String, Result> files = new LinkedHashMap<>();
        for (Result row : rows) {
            long ms = Moments.ms(row.path);
            if (ms == Moments.NONE) {
                files.put(row.path, row);
            } else {
                files.computeIfAbsent(Moments.file(row.path), video -> new Result(
                    video, row.score, Collections.emptyList(), ms, new ArrayList<>(), row.matched)).moments().add(ms);
            }
        }
        return new ArrayList<>(files.values());
    }

    /** Free the image tower, which searches by words do not need. */
    public void closeImageTower() {
        if (image != null) {
            image.tower().close();
            image = null;
        }
    }

    /** Free what reads text. */
    public void closeReader() {
        readerTowers.forEach(loaded -> loaded.tower().close());
        readerTowers.clear();
        reader = null;
    }

    @Override
    public void close() {
        closeImageTower();
        closeReader();
        if (text != null) {
            text.tower().close();
            text = null;
        }
        if (tokenizer != null) {
            try {
                tokenizer.close();
            } catch (IOException ignored) {
                // Nothing was written to it.
            }
            tokenizer = null;
        }
    }
}
