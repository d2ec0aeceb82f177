package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.base.Fsync;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.zip.CRC32;

/**
 * The only file of an index that changes: the segments of the last commit. {@code filledBy} names the towers that
 * embedded its photos (a rung and its provider), sorted.
 */
record Manifest(long generation, int dim, String student, String studentSha256, List<Entry> segments,
        List<String> filledBy) {
    private static final String SCHEMA = "mcad-index/1";
    private static final String NEWER_SCHEMA = "mcad-index/([2-9]|[1-9][0-9]+)";
    static final String UPDATE = "Update this app.";
    static final String NAME = "manifest.json";
    private static final String SEGMENT_NAME = "segment-[0-9]{8,}\\.mcs";
    private static final String WORDS_NAME = "words-[0-9]{8,}-[0-9]{8,}\\.mcw";
    private static final int LONGEST_NAME = "segment-.mcs".length() + 18; // the digits that fit in a long
    /** The hint for an unusable index: it is a cache, which IndexRun rebuilds. */
    static final String START_OVER = "The app builds the index again when it next indexes photos.";
    private static final int LARGEST_DIM = 4096;
    // Where each of the counts of an entry starts.
    private static final int CANDIDATES = 0;
    private static final int PRESCAN = 3;
    private static final int CELLS = 6;
    // The checksum covers the file with its own eight digits as zeros; they are always bytes 11 to 18.
    private static final String BEFORE_CRC = "{\"crc32\": \"";
    private static final String NO_CRC = "00000000";

    /**
     * A segment of the commit, and its deleted rows (ascending).
     *
     * @param numbers see {@link IndexCore#NUMBERS}
     * @param counts how many photos are scored, how many a prescan passes on, and how many the scanned cells hold: of
     *     n photos, factor * n ^ exponent * k ^ growth for k results, each by these three numbers
     * @param words the file of its photos' words, or null
     */
    record Entry(String file, long[] numbers, int[] deleted, double[] counts, String words) {
        long headerCrc() {
            return numbers[0];
        }

        int photos() {
            return (int) numbers[2];
        }
    }

    static String segmentName(long generation) {
        return String.format(Locale.ROOT, "segment-%08d.mcs", generation);
    }

    /** The file of the words that a generation writes for a segment. */
    static String wordsName(String segment, long generation) {
        return String.format(Locale.ROOT, "words-%s-%08d.mcw", segment.substring(8, segment.length() - 4), generation);
    }

    /** Read and check; McadException if it is missing, damaged or of another schema. */
    static Manifest read(Path directory) throws IOException {
        Path file = directory.resolve(NAME);
        byte[] raw;
        try {
            raw = Files.readAllBytes(file);
        } catch (NoSuchFileException missing) {
            throw new McadException("There is no photo index at " + directory + " (no " + NAME + " in it).",
                "Index photos first.");
        }
        try {
            return parse(directory, file, raw);
        } catch (McadException error) {
            throw McadException.of(McadException.Kind.DAMAGED, error);
        }
    }

    private static Manifest parse(Path directory, Path file, byte[] raw) throws McadException {
        String where = "The manifest " + file + " is damaged: it";
        JsonFields data = JsonFields.parse(new String(raw, StandardCharsets.UTF_8), where, START_OVER);
        String schema = data.string("schema");
        if (schema.matches(NEWER_SCHEMA)) {
            throw new McadException(McadException.Kind.INDEX, "The index at " + directory + " has schema '" + schema
                + "', of a newer version; this version reads '" + SCHEMA + "'.", UPDATE, null);
        }
        if (!schema.equals(SCHEMA)) {
            throw new McadException("The index at " + directory + " has schema '" + schema + "'; this version reads '"
                + SCHEMA + "'.", START_OVER);
        }
        String crc = checksum(raw);
        if (!crc.equals(data.string("crc32"))) {
            throw new McadException(where + " has CRC-32 " + crc + ", and says '" + data.string("crc32") + "'.",
                START_OVER);
        }
        List<Entry> entries = new ArrayList<>();
        for (JsonFields entry : data.objects("segments")) {
            entries.add(entry(entry));
        }
        if (entries.stream().map(Entry::file).distinct().count() < entries.size()) {
            throw new McadException(where + " names a segment twice.", START_OVER);
        }
        int dim = data.integer("dim", 8, LARGEST_DIM);
        if (dim % 8 != 0) {
            throw data.wrong("dim", "a multiple of 8");
        }
        return new Manifest(data.integer("generation"), dim, data.string("student"), data.string("student_sha256"),
            entries, data.list("filled_by", String.class));
    }

    /** The highest generation of any file in the directory: its manifest, if readable, or a segment. */
    static long lastGeneration(Path directory) throws IOException {
        long last = 0;
        try {
            last = read(directory).generation();
        } catch (McadException missingOrDamaged) {
            // The segments' names tell too.
        }
        try (DirectoryStream<Path> segments = Files.newDirectoryStream(directory, "segment-*.mcs")) {
            for (Path segment : segments) {
                String name = segment.getFileName().toString();
                if (name.matches(SEGMENT_NAME) && name.length() <= LONGEST_NAME) {
                    last = Math.max(last, Long.parseLong(name.substring(8, name.length() - 4)));
                }
            }
        }
        return last;
    }

    private static Entry entry(JsonFields data) throws McadException {
        String file = data.string("file");
        if (!file.matches(SEGMENT_NAME)) {
            throw data.wrong("file", "the name of a segment");
        }
        int photos = data.integer("photos", 1, Integer.MAX_VALUE);
        List<Long> rows = data.list("deleted", Long.class);
        int[] deleted = new int[rows.size()];
        long before = -1;
        for (int i = 0; i < deleted.length; i++) {
            long row = rows.get(i);
            if (row <= before || row >= photos) {
                throw data.wrong("deleted", "a list of its photos' rows, ascending,");
            }
            before = row;
            deleted[i] = (int) row;
        }
        // A JSON null counts as missing.
        JsonFields prescan = data.has("prescan") ? data.object("prescan") : null;
        String words = data.has("words") ? data.string("words") : null;
        if (words != null && !words.matches(WORDS_NAME)) {
            throw data.wrong("words", "the name of a file of words");
        }
        double[] counts = new double[IndexCore.COUNTS];
        readCount(data, "candidates", counts, CANDIDATES);
        if (prescan != null) {
            readCount(prescan, "candidates", counts, PRESCAN);
        }
        if (data.has("cells")) {
            readCount(data, "cells", counts, CELLS);
        }
        int bits = prescan == null ? 0 : prescan.integer("bits", 64, LARGEST_DIM);
        long[] numbers = {data.integer("header_crc32"), data.has("cells") ? 1 : 0, photos, bits};
        return new Entry(file, numbers, deleted, counts, words);
    }

    private static void readCount(JsonFields data, String key, double[] counts, int at) throws McadException {
        JsonFields count = data.object(key);
        counts[at] = within(count, "factor", 1e6);
        counts[at + 1] = within(count, "exponent", 1);
        counts[at + 2] = within(count, "growth", 1);
    }

    private static Object json(double[] counts, int at) {
        return JsonFields.of("factor", counts[at], "exponent", counts[at + 1], "growth", counts[at + 2]);
    }

    private static double within(JsonFields data, String key, double most) throws McadException {
        double value = data.number(key);
        if (!(value >= 0 && value <= most)) {
            throw data.wrong(key, "a number from 0 to " + most);
        }
        return value;
    }

    /** Make this the last commit. McadException of kind STORAGE if that fails. */
    void write(Path directory) throws IOException {
        List<Object> entries = new ArrayList<>();
        for (Entry entry : segments) {
            Object deleted = Arrays.stream(entry.deleted()).boxed().collect(Collectors.toList());
            boolean hasCells = entry.numbers()[1] != 0;
            long bits = entry.numbers()[3];
            Object ofPrescan = json(entry.counts(), PRESCAN);
            Object prescan = bits == 0 ? null : JsonFields.of("bits", bits, "candidates", ofPrescan);
            Map<String, Object> document = JsonFields.of("file", entry.file(), "photos", entry.photos(), "header_crc32",
                entry.headerCrc(), "deleted", deleted, "candidates", json(entry.counts(), CANDIDATES), "prescan",
                prescan, "cells", hasCells ? json(entry.counts(), CELLS) : null);
            if (entry.words() != null) {
                document.put("words", entry.words());
            }
            entries.add(document);
        }
        StringBuilder json = new StringBuilder();
        JsonFields.writeLine(JsonFields.of("crc32", NO_CRC, "schema", SCHEMA, "generation", generation, "dim", dim,
            "student", student, "student_sha256", studentSha256, "segments", entries, "filled_by", filledBy), json);
        byte[] raw = json.append('\n').toString().getBytes(StandardCharsets.UTF_8);
        byte[] crc = checksum(raw).getBytes(StandardCharsets.US_ASCII);
        System.arraycopy(crc, 0, raw, BEFORE_CRC.length(), crc.length);
        // The segments' directory entries must reach the disk before the manifest that names them.
        Fsync.directory(directory);
        AtomicFile.write(directory.resolve(NAME), raw);
    }

    private static String checksum(byte[] raw) {
        byte[] blank = raw.clone();
        for (int i = 0; i < NO_CRC.length() && BEFORE_CRC.length() + i < blank.length; i++) {
            blank[BEFORE_CRC.length() + i] = '0';
        }
        CRC32 crc = new CRC32();
        crc.update(blank, 0, blank.length);
        return Long.toHexString(1L << 32 | crc.getValue()).substring(1); // eight digits
    }

    /** Delete segments and temporary files that this last commit does not name. */
    void removeStrays(Path directory) throws IOException {
        Set<String> named = new HashSet<>();
        for (Entry entry : segments) {
            named.add(entry.file());
            named.add(entry.words());
        }
        try (DirectoryStream<Path> files = Files.newDirectoryStream(directory)) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                boolean isOurs = name.equals(NAME + AtomicFile.UNFINISHED) || name.matches(SEGMENT_NAME)
                    || name.matches(WORDS_NAME);
                if (isOurs && !named.contains(name)) {
                    Files.deleteIfExists(file);
                }
            }
        }
    }
}
