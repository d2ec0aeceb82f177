package io.github.mcadmobile.engine;

import static io.github.mcadmobile.engine.McadException.EXPORT_AGAIN;

import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.photos.Preprocess;
import io.github.mcadmobile.engine.text.Tokenizer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Predicate;
import org.jspecify.annotations.Nullable;

/** An exported bundle: a directory with bundle.json (schema mcad-bundle/1) and the files that a search needs. */
public final class Bundle {
    /** The sides of a reader's inputs: of the detector's, and the height and width of the recognizer's. */
    public static final int DETECTOR_SIDE = 640;
    public static final int LINE_HEIGHT = 48;
    public static final int LINE_WIDTH = 320;
    /** Pixels of a line for each of the recognizer's outputs. */
    public static final int LINE_STEP = 8;

    private static final String FAMILY = "mcad-bundle/";
    private static final int VERSION = 1;
    public static final String SCHEMA = FAMILY + VERSION;
    public static final String MANIFEST = "bundle.json";
    private static final String MULTILINGUAL = "multilingual";

    private static final String UPDATE = "Update mcad-mobile, and the app that reads the bundle.";
    private static final int CHUNK = 1 << 16;

    /** A file of the bundle; its path is relative, in POSIX form. */
    public record FileRecord(String path, String sha256, long bytes) {}

    /**
     * A tower's input or output; its shape starts with 1. If scale is not 0, integers stand for scale * (stored -
     * zeroPoint).
     */
    public record TensorSpec(
            String name, String dtype, long[] shape, String layout, float scale, int zeroPoint) {
        public int count() {
            int count = 1;
            for (long size : shape) {
                count *= (int) size;
            }
            return count;
        }

        /** Quantize a real value and clip it to the stored type. */
        public int stored(float value, int least, int most) {
            return (int) Math.max(least, Math.min(most, Math.rint(value / scale) + zeroPoint));
        }

        public float real(int stored) {
            return scale * (stored - zeroPoint);
        }
    }

    /**
     * One way to run a tower. The runtime opens the first file; {@code expected}: its golden output [N, dim], .npy;
     * {@code parity}: its mean cosine to the float student, 1 if none was measured; {@code chips}: those that a binary
     * runs on, as {@code Build.SOC_MODEL} names them, first the one that it is compiled for; none if unknown.
     */
    public record Rung(String runtime, String precision, List<FileRecord> files, List<TensorSpec> inputs,
            List<TensorSpec> outputs, int totalNodes, FileRecord expected, double parity, List<String> chips) {
        /** Whether its binary cannot run on {@code chip}, empty if unknown. Variants have a suffix: SM8650-AC. */
        public boolean isForOtherThan(String chip) {
            boolean known = runtime.equals("qnn") && !chip.isEmpty() && !chips.isEmpty();
            for (String one : chips) {
                known &= !chip.split("-")[0].equalsIgnoreCase(one.split("-")[0]);
            }
            return known;
        }

        public long bytes() {
            long sum = 0;
            for (FileRecord file : files) {
                sum += file.bytes();
            }
            return sum;
        }
    }

    /**
     * Self-test data as .npy files: real inputs by name, the float student's embeddings of them [N, dim], and for texts
     * the texts and their token ids (null for photos).
     */
    public record Golden(Map<String, FileRecord> inputs, FileRecord embeddings, List<String> texts, FileRecord ids) {}

    /** The token table: {@code tokens} rows of {@code width} numbers. */
    public record TableRecord(FileRecord file, int tokens, int width, int bits) {}

    /** The fallback ladder of one tower, best first, and its self-test. */
    public record Tower(List<Rung> rungs, Golden golden) {}

    /**
     * What reads the text in photos. {@code detector}: pixels to a map of how probable text is; {@code recognizer}: pixels
     * of a line to the probabilities of {@code characters}, after that of none; {@code places}: the table of places, null
     * if there is none.
     */
    public record ReaderFacts(Tower detector, Tower recognizer, FileRecord characters, FileRecord licenceText,
            @Nullable FileRecord places) {}

    /** Which token states of a text tower are pooled into the embedding. */
    public enum Pool { EOS, FIRST, LAST, MEAN }

    /** A tokenizer's settings; {@code length} includes the special tokens around a text. */
    public record TokenizerSpec(FileRecord file, int length, int pad, boolean padLeft, boolean attendsToPadding,
            Pool pool, int eos) {}

    public final Path directory;
    public final String name;
    public final String created;
    public final String target;
    public final String studentName;
    public final String studentSha256;
    /** Bundles with the same image tower can search the same index. */
    public final String imageSha256;
    public final int dim;
    public final Tower image;
    public final Tower text;
    public final Preprocess preprocess;
    public final TokenizerSpec tokenizer;
    public final TableRecord tokenTable;
    public final FileRecord sample;
    /** Null if photos' texts are not read. */
    public final @Nullable ReaderFacts reader;
    /** The name of its text tower, "text" or "multilingual". */
    public final String textTower;
    /** This bundle with its text tower for languages other than English; null if it has one text tower. */
    private final @Nullable Bundle multilingual;
    private volatile @Nullable Boolean english;

    private Bundle(Path directory, JsonFields data, JsonFields words, String textTower) throws McadException {
        this.directory = directory;
        name = data.string("name");
        created = data.string("created");
        target = data.object("target").string("id");
        List<String> chips = chips(data.object("target"));
        studentName = words.object("student").string("name");
        studentSha256 = words.object("student").string("sha256");
        imageSha256 = data.object("student").string("image_sha256");
        dim = data.integer("dim", 1, 1 << 16);
        image = tower(data.object("image"), chips);
        text = tower(words.object("text"), chips);
        this.textTower = textTower;
        preprocess = Preprocess.of(data.object("preprocess"));
        tokenizer = tokenizerSpec(words.object("tokenizer"), record(words.object("tokenizer_file")));
        JsonFields table = words.object("token_table");
        int bits = table.integer("bits", 4, 16);
        if (bits != 4 && bits != 16) {
            throw table.wrong("bits", "4 or 16");
        }
        tokenTable = new TableRecord(record(table.object("file")), table.integer("tokens", 1, 1 << 24),
            table.integer("width", 1, 1 << 14), bits);
        sample = record(data.object("sample"));
        reader = data.has("reader") ? reader(data.object("reader"), chips) : null;
        multilingual = words == data && data.has(MULTILINGUAL)
            ? new Bundle(directory, data, data.object(MULTILINGUAL), MULTILINGUAL) : null;
    }

    /**
     * Read a bundle and check its schema, files, sizes and, with {@code verify}, checksums (reads megabytes; once after
     * copying is enough). McadException names the fault.
     */
    public static Bundle load(Path directory, boolean verify) throws McadException {
        Path manifest = directory.resolve(MANIFEST);
        String json;
        try {
            json = new String(Files.readAllBytes(manifest), StandardCharsets.UTF_8);
        } catch (NoSuchFileException error) {
            throw new McadException("No bundle at " + directory + ": " + manifest + " is missing.", EXPORT_AGAIN);
        } catch (IOException error) {
            throw new McadException(manifest + " cannot be read: " + error + ".", EXPORT_AGAIN, error);
        }
        Bundle bundle = parse(directory, json);
        for (FileRecord file : bundle.filesHere()) {
            bundle.checkPresent(file);
        }
        if (verify) {
            bundle.verify();
        }
        return bundle;
    }

    /** Parse a bundle.json without opening its files; paths that leave {@code directory} are refused. */
    static Bundle parse(Path directory, String json) throws McadException {
        String where = directory.resolve(MANIFEST).toString();
        JsonFields data = JsonFields.parse(json, where, EXPORT_AGAIN);
        checkSchema(data, where);
        Bundle bundle = new Bundle(directory, data, data, "text");
        for (FileRecord file : bundle.files()) {
            if (!staysInside(file.path())) {
                throw leaves(where, file);
            }
        }
        return bundle;
    }

    /** Whether queries must be in English, by the tokenizer's vocabulary. McadException if its file cannot be read. */
    public boolean isEnglish() throws IOException {
        if (english == null) {
            try (Tokenizer words = Tokenizer.of(this)) {
                english = words.isEnglish();
            }
        }
        return english;
    }

    public Path path(FileRecord file) {
        return directory.resolve(file.path());
    }

    /** This bundle with the text tower that reads a language, such as "de": for English, the first. */
    public Bundle forLanguage(String language) {
        return multilingual == null || language.equals("en") ? this : multilingual;
    }

    /** Tower "image" or {@link #textTower}; of the reader, "detector" or "recognizer". McadException if there is no reader. */
    public Tower tower(String name) throws McadException {
        if (name.equals("image") || name.equals(textTower)) {
            return name.equals("image") ? image : text;
        }
        if (reader == null) {
            throw new McadException(directory + " cannot read text.", "Export it with --read-text.");
        }
        return name.equals("detector") ? reader.detector() : reader.recognizer();
    }

    private List<Tower> towers() {
        List<Tower> towers = new ArrayList<>(List.of(image, text));
        if (multilingual != null) {
            towers.add(multilingual.text);
        }
        if (reader != null) {
            towers.addAll(List.of(reader.detector(), reader.recognizer()));
        }
        return towers;
    }

    /** All files that bundle.json names, but not the weights' licence; a file named twice appears twice. */
    public List<FileRecord> files() {
        return files(rung -> true);
    }

    /** As above, without the files of the other rungs. */
    List<FileRecord> files(Predicate<Rung> wanted) {
        List<FileRecord> found = new ArrayList<>();
        found.add(tokenizer.file());
        found.add(tokenTable.file());
        found.add(sample);
        if (multilingual != null) {
            found.addAll(List.of(multilingual.tokenizer.file(), multilingual.tokenTable.file()));
        }
        if (reader != null) {
            found.addAll(List.of(reader.characters(), reader.licenceText()));
            if (reader.places() != null) {
                found.add(reader.places());
            }
        }
        for (Tower tower : towers()) {
            for (Rung rung : tower.rungs()) {
                if (wanted.test(rung)) {
                    found.addAll(rung.files());
                }
                found.add(rung.expected());
            }
            found.addAll(tower.golden().inputs().values());
            found.add(tower.golden().embeddings());
            if (tower.golden().ids() != null) {
                found.add(tower.golden().ids());
            }
        }
        return found;
    }

    /** The rungs for an NPU, whose files Google Play gives to phones with its chip alone. */
    List<Rung> npuRungs() {
        List<Rung> found = new ArrayList<>();
        for (Tower tower : towers()) {
            for (Rung rung : tower.rungs()) {
                if (rung.runtime().equals("qnn")) {
                    found.add(rung);
                }
            }
        }
        return found;
    }

    /** Whether a rung's files were given to this phone. */
    public boolean isHere(Rung rung) {
        return Files.exists(path(rung.files().get(0)));
    }

    private List<FileRecord> filesHere() {
        return files(rung -> !rung.runtime().equals("qnn") || isHere(rung));
    }

    /** Compare every file with its checksum. McadException names the first mismatch. */
    public void verify() throws McadException {
        for (FileRecord file : filesHere()) {
            String found;
            try (InputStream in = Files.newInputStream(path(file))) {
                found = sha256(in);
            } catch (IOException error) {
                throw new McadException(path(file) + " cannot be read: " + error + ".", EXPORT_AGAIN, error);
            }
            if (!found.equals(file.sha256())) {
                throw new McadException(
                    path(file) + " is damaged: its sha256 is not the one in " + MANIFEST + ".", EXPORT_AGAIN);
            }
        }
    }

    /** The SHA-256 of a stream, in lowercase hexadecimal. */
    public static String sha256(InputStream in) throws IOException {
        MessageDigest digest;
        try {
            digest = MessageDigest.getInstance("SHA-256");
        } catch (NoSuchAlgorithmException impossible) {
            throw new AssertionError(impossible);
        }
        byte[] chunk = new byte[CHUNK];
        for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
            digest.update(chunk, 0, count);
        }
        StringBuilder hex = new StringBuilder();
        for (byte b : digest.digest()) {
            hex.append(Character.forDigit(b >> 4 & 15, 16)).append(Character.forDigit(b & 15, 16));
        }
        return hex.toString();
    }

    private static void checkSchema(JsonFields data, String where) throws McadException {
        String found = data.has("schema") ? data.string("schema") : null;
        if (SCHEMA.equals(found)) {
            return;
        }
        String reads = "this version reads '" + SCHEMA + "'.";
        if (found == null) {
            throw new McadException(where + " names no schema; " + reads, EXPORT_AGAIN);
        }
        String has = where + " has schema '" + found + "'";
        if (found.matches(FAMILY + "[0-9]{1,9}") && Integer.parseInt(found.substring(FAMILY.length())) > VERSION) {
            throw new McadException(has + ", of a newer mcad-mobile; " + reads, UPDATE);
        }
        throw new McadException(has + "; " + reads, EXPORT_AGAIN);
    }

    private void checkPresent(FileRecord file) throws McadException {
        Path path = path(file);
        if (!Files.isRegularFile(path)) {
            throw new McadException(path + " is missing from the bundle.", EXPORT_AGAIN);
        }
        boolean inside = false; // links inside the bundle are followed
        try {
            inside = path.toRealPath().startsWith(directory.toRealPath());
        } catch (IOException error) {
            // It went meanwhile.
        }
        if (!inside) {
            throw leaves(directory.resolve(MANIFEST).toString(), file);
        }
        long size = path.toFile().length();
        if (size != file.bytes()) {
            throw new McadException(
                path + " has " + size + " bytes, not the " + file.bytes() + " of " + MANIFEST + ".", EXPORT_AGAIN);
        }
    }

    private static McadException leaves(String where, FileRecord file) {
        return new McadException(where + " names '" + file.path() + "', which leaves the bundle.",
            "Do not use this bundle: it was not written by mcad-mobile.");
    }

    private static boolean staysInside(String path) {
        return !path.isEmpty() && !path.startsWith("/") && path.indexOf('\\') < 0
            && !("/" + path + "/").contains("/../");
    }

    private static List<String> chips(JsonFields target) throws McadException {
        List<String> chips = new ArrayList<>();
        if (target.has("chip") && !target.string("chip").isEmpty()) {
            chips.add(target.string("chip"));
            chips.addAll(target.has("fits") ? target.list("fits", String.class) : List.of());
        }
        return chips;
    }

    private static Tower tower(JsonFields data, List<String> chips) throws McadException {
        List<Rung> rungs = new ArrayList<>();
        for (JsonFields rung : data.objects("rungs")) {
            rungs.add(rung(rung, rung.has("chip") ? chips(rung.object("chip")) : chips));
        }
        if (rungs.isEmpty()) {
            throw data.wrong("rungs", "at least one");
        }
        JsonFields golden = data.object("golden");
        Map<String, FileRecord> inputs = new LinkedHashMap<>();
        JsonFields named = golden.object("inputs");
        for (String input : named.names()) {
            inputs.put(input, record(named.object(input)));
        }
        return new Tower(rungs,
            new Golden(inputs, record(golden.object("embeddings")), golden.list("texts", String.class),
                golden.has("ids") ? record(golden.object("ids")) : null));
    }

    private static ReaderFacts reader(JsonFields data, List<String> chips) throws McadException {
        return new ReaderFacts(tower(data.object("detector"), chips), tower(data.object("recognizer"), chips),
            record(data.object("characters")), record(data.object("licence_text")),
            data.has("places") ? record(data.object("places")) : null);
    }

    private static Rung rung(JsonFields data, List<String> chips) throws McadException {
        List<FileRecord> files = new ArrayList<>();
        for (JsonFields file : data.objects("files")) {
            files.add(record(file));
        }
        if (files.isEmpty()) {
            throw data.wrong("files", "at least one");
        }
        return new Rung(data.string("runtime"), data.string("precision"), files, specs(data, "inputs"),
            specs(data, "outputs"), data.integer("total_nodes", 0, Integer.MAX_VALUE), record(data.object("expected")),
            data.has("parity") ? data.object("parity").number("cosine_mean") : 1, chips);
    }

    private static List<TensorSpec> specs(JsonFields data, String key) throws McadException {
        List<TensorSpec> specs = new ArrayList<>();
        for (JsonFields spec : data.objects(key)) {
            List<Long> sizes = spec.list("shape", Long.class);
            long[] shape = new long[sizes.size()];
            for (int i = 0; i < shape.length; i++) {
                shape[i] = sizes.get(i);
            }
            float scale = spec.has("scale") ? (float) spec.number("scale") : 0;
            if (spec.has("scale") && scale <= 0) {
                throw spec.wrong("scale", "a positive number");
            }
            int zero = spec.has("zero_point") ? spec.integer("zero_point", Integer.MIN_VALUE, Integer.MAX_VALUE) : 0;
            specs.add(new TensorSpec(
                spec.string("name"), spec.string("dtype"), shape, spec.string("layout"), scale, zero));
        }
        return specs;
    }

    private static TokenizerSpec tokenizerSpec(JsonFields data, FileRecord file) throws McadException {
        Pool pool;
        try {
            pool = Pool.valueOf(data.string("pool").toUpperCase(Locale.ROOT));
        } catch (IllegalArgumentException error) {
            throw data.wrong("pool", "eos, first, last or mean");
        }
        return new TokenizerSpec(file, data.integer("length", 2, 1 << 16),
            data.integer("pad", 0, Integer.MAX_VALUE), data.flag("pad_left"), data.flag("attends_to_padding"), pool,
            pool == Pool.EOS ? data.integer("eos", 0, Integer.MAX_VALUE) : -1);
    }

    private static FileRecord record(JsonFields data) throws McadException {
        return new FileRecord(data.string("path"), data.string("sha256"), data.integer("bytes"));
    }
}
