package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.NativeLibrary;
import io.github.mcadmobile.engine.photos.ResizeUses;
import io.github.mcadmobile.engine.reading.ReadingProbe;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.zip.CRC32;

/**
 * What the index in C makes of damage: `damage INDEX WORK SEED ROUNDS` uses copies of an index with bytes changed,
 * `arguments WORK` gives each function what it must refuse, `memory INDEX WORK` lets each allocation fail, `stopped
 * WORK` stops a commit. Prints what came of it.
 */
public final class KernelProbe {
    private static final int HEADER = 4096;
    private static final int PARTS = 11;
    private static final int SEGMENT_CRC_AT = 12; // in a file of words
    private static final int RESULTS = 5;
    private static final int COMMITS = 8; // of a damaged index in so many
    private static final int DIM = 64;
    private static final PhotoWords WORDS =
        new PhotoWords(List.of(new PhotoWords.Line("BOARDING PASS", List.of())), List.of("Lisbon"), true);

    private KernelProbe() {}

    public static void main(String[] arguments) throws IOException {
        NativeLibrary.load();
        Path first = Paths.get(arguments[1]);
        Object answer = switch (arguments[0]) {
            case "damage" -> damage(first, Paths.get(arguments[2]), Long.parseLong(arguments[3]),
                Integer.parseInt(arguments[4]));
            case "arguments" -> JsonFields.of("accepted", arguments(first));
            case "stopped" -> stopped(first);
            default -> memory(first, Paths.get(arguments[2]));
        };
        System.out.println(JsonFields.write(answer));
    }

    // Of the library that is compiled for this test: how many allocations work from now on, how many blocks there are.
    private static native void allow(int allocations);

    private static native int blocks();

    private interface Use {
        Object run() throws IOException;
    }

    private static float[] vector(int dim, int number) {
        float[] vector = new float[dim];
        vector[number] = 1;
        return vector;
    }

    /** Uses of all kinds: how many found something. Only IOException may come of one. */
    private static int uses(PhotoIndex index) {
        float[] query = vector(index.dim(), 0);
        RowNumbers numbers = new RowNumbers(key -> (int) (key & 3));
        List<Use> uses = List.of(
            () -> index.search(query, RESULTS).paths(),
            () -> index.search(query, 4 * RESULTS, true).paths(),
            () -> index.search(query, RESULTS, index.rows(numbers, number -> number > 0)).paths(),
            () -> index.search(query, RESULTS, index.rows(numbers, number -> true, "Lisbon")).paths(),
            () -> index.search(query, 1000).paths(),
            () -> index.searchWords("boarding pass", RESULTS, null, query).toArray(),
            () -> index.searchWords("boardimg lisbon", 1000, index.rows(numbers, number -> number > 1), null).toArray(),
            () -> {
                Membership photos = index.membership();
                List<Object> found = new ArrayList<>();
                while (photos.next() && found.size() < 4 * RESULTS) {
                    found.add(index.embedding(photos.path()));
                    index.words(photos.path());
                    index.isUnread(photos.path(), photos.stamp());
                }
                return found.toArray();
            });
        int found = 0;
        for (Use use : uses) {
            try {
                found += ((Object[]) use.run()).length > 0 ? 1 : 0;
            } catch (IOException refused) {
                // that is what damage should come to
            }
        }
        try {
            index.verify();
            return found + 1;
        } catch (IOException refused) {
            return found;
        }
    }

    /** A commit of some photos with words, one of them moved, and of a file that is deleted. */
    private static void change(PhotoIndex index) throws IOException {
        try (IndexWriter writer = index.writer()) {
            Membership photos = index.membership();
            if (photos.next()) {
                writer.move(photos.path(), "moved.jpg", 1, 2);
                writer.delete(photos.next() ? photos.path() : "none");
            }
            for (int i = 0; i < RESULTS; i++) {
                writer.add("new-" + i + ".jpg", vector(index.dim(), i), 1, i, i);
                writer.setWords("new-" + i + ".jpg", WORDS);
            }
            writer.commit();
        }
    }

    private static Map<String, byte[]> files(Path directory) throws IOException {
        Map<String, byte[]> files = new HashMap<>();
        try (DirectoryStream<Path> all = Files.newDirectoryStream(directory, "*.{mcs,mcw,json}")) {
            for (Path file : all) {
                files.put(file.getFileName().toString(), Files.readAllBytes(file));
            }
        }
        return files;
    }

    /** Make these the files of a directory. An open map of a file before keeps its bytes. */
    private static void replace(Path directory, Map<String, byte[]> files) throws IOException {
        for (String name : files(directory).keySet()) {
            Files.delete(directory.resolve(name));
        }
        for (Map.Entry<String, byte[]> file : files.entrySet()) {
            Files.write(directory.resolve(file.getKey()), file.getValue());
        }
    }

    private static Object damage(Path from, Path work, long seed, int rounds) throws IOException {
        Random random = new Random(seed);
        Map<String, byte[]> whole = files(from);
        List<Manifest.Entry> entries = Manifest.read(from).segments();
        int opened = 0;
        int found = 0;
        int committed = 0;
        for (int round = 0; round < rounds; round++) {
            Map<String, byte[]> files = new HashMap<>(whole);
            Manifest.Entry entry = entries.get(random.nextInt(entries.size()));
            if (entry.words() != null && random.nextInt(4) == 0) {
                byte[] words = whole.get(entry.words()).clone();
                for (int left = 1 + random.nextInt(20); left > 0; left--) {
                    words[20 + random.nextInt(words.length - 20)] = (byte) random.nextInt();
                }
                files.put(entry.words(), words);
            } else {
                damage(entry, random, files);
            }
            replace(work, files);
            try (PhotoIndex index = PhotoIndex.open(work)) {
                opened++;
                found += uses(index);
                if (random.nextInt(COMMITS) == 0) {
                    change(index);
                    committed++;
                }
            } catch (IOException refused) {
                // at the door, or by the writer
            }
        }
        return JsonFields.of("rounds", rounds, "opened", opened, "found", found, "committed", committed);
    }

    /** Change a segment, and its checksums in the header, the manifest and its file of words. */
    private static void damage(Manifest.Entry entry, Random random, Map<String, byte[]> files) {
        byte[] before = files.get(entry.file());
        byte[] mutant = mutant(before, random);
        files.put(entry.file(), mutant);
        if (entry.words() != null) {
            byte[] words = files.get(entry.words()).clone();
            ByteBuffer.wrap(words).order(ByteOrder.LITTLE_ENDIAN).putInt(SEGMENT_CRC_AT, (int) crc(mutant));
            files.put(entry.words(), words);
        }
        String text = new String(files.get(Manifest.NAME), StandardCharsets.UTF_8);
        text = text.replace(":" + crc(before), ":" + crc(mutant));
        String blank = text.substring(0, 11) + "00000000" + text.substring(19);
        CRC32 crc = new CRC32();
        crc.update(blank.getBytes(StandardCharsets.UTF_8));
        text = text.substring(0, 11) + String.format("%08x", crc.getValue()) + text.substring(19);
        files.put(Manifest.NAME, text.getBytes(StandardCharsets.UTF_8));
    }

    /** The CRC-32 that the header of a segment has, or should have. */
    private static long crc(byte[] segment) {
        CRC32 crc = new CRC32();
        crc.update(segment, 0, Math.min(segment.length, HEADER - 4));
        return crc.getValue();
    }

    private static byte[] mutant(byte[] whole, Random random) {
        byte[] bytes = whole.clone();
        ByteBuffer header = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int[] counts = {0, 1, 1, 2, 8, 40};
        for (int left = counts[random.nextInt(counts.length)]; left > 0; left--) {
            int part = 40 + 24 * random.nextInt(PARTS);
            long start = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong(part);
            long length = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong(part + 8);
            int at = switch (random.nextInt(8)) {
                case 0 -> 8 + random.nextInt(32 + 24 * PARTS);
                case 1 -> random.nextInt(bytes.length);
                case 2 -> (int) start + random.nextInt(64);
                default -> (int) (start + (length == 0 ? 0 : random.nextInt((int) length)));
            };
            if (at < bytes.length) {
                byte[] values = {0, -1, (byte) (bytes[at] ^ 1 << random.nextInt(8)), (byte) random.nextInt()};
                bytes[at] = values[random.nextInt(values.length)];
            }
        }
        if (random.nextInt(20) == 0) {
            bytes = Arrays.copyOf(bytes, random.nextInt(bytes.length));
        }
        if (bytes.length >= HEADER) {
            header.putInt(HEADER - 4, (int) crc(bytes));
            System.arraycopy(header.array(), HEADER - 4, bytes, HEADER - 4, 4);
        }
        return bytes;
    }

    /** An index of some photos, which the next commit merges. */
    private static PhotoIndex newIndex(Path work) throws IOException {
        PhotoIndex index = PhotoIndex.recreate(work, DIM, "tiny", "0");
        change(index);
        return index;
    }

    private static Object memory(Path directory, Path work) throws IOException {
        int failed = 0;
        int worked = 0;
        int enough = -1;
        int left = 0;
        PhotoIndex changed = newIndex(work);
        long generation = Manifest.read(work).generation();
        for (int allocations = 0; worked < 20; allocations++) {
            int before = blocks();
            allow(allocations);
            try (PhotoIndex index = PhotoIndex.open(directory)) {
                int found = uses(index);
                change(changed);
                worked += found > 6 ? 1 : 0;
                enough = enough < 0 ? allocations : enough;
            } catch (OutOfMemoryError error) {
                failed++;
            }
            allow(-1);
            if (Manifest.read(work).generation() == generation) {
                left += blocks() - before;
            } else {
                changed.close();
                left += blocks();
                changed = newIndex(work);
                generation = Manifest.read(work).generation();
            }
        }
        changed.close();
        return JsonFields.of("failed", failed, "enough", enough, "left", left);
    }

    /** What a commit and a check say that are stopped, what is committed then, and what a closed index says. */
    private static Object stopped(Path work) throws IOException {
        ByteBuffer stop = ByteBuffer.allocateDirect(Integer.BYTES).order(ByteOrder.nativeOrder()).putInt(0, 1);
        List<String> said = new ArrayList<>();
        PhotoIndex index = PhotoIndex.openOrCreate(work, DIM, "tiny", "0");
        change(index);
        PassingRows rows = index.rows(new RowNumbers(key -> 1), number -> true);
        IndexWriter writer = index.writer();
        writer.add("a.jpg", vector(DIM, 0), 1, 2);
        List<Use> uses = List.of(
            () -> {
                index.verify(stop);
                return "nothing";
            },
            () -> {
                writer.commit(stop);
                return "nothing";
            },
            () -> {
                writer.close();
                return writer.delete("new-1.jpg");
            },
            () -> {
                index.close();
                index.close();
                return index.search(vector(DIM, 0), 1);
            },
            () -> index.search(vector(DIM, 0), 1, rows).paths().length,
            () -> index.membership().next(),
            () -> index.rows(new RowNumbers(key -> 1), number -> true).count());
        for (Use use : uses) {
            try {
                said.add(use.run().toString());
            } catch (IOException error) {
                said.add(error.getMessage().split("\n")[0]);
            }
        }
        return JsonFields.of("said", said, "photos", index.photos());
    }

    /** Calls with a wrong argument, of which the right ones before it are known to be accepted. */
    private static final class Uses {
        final List<Integer> accepted = new ArrayList<>();
        private int count;

        void refuse(Use use) throws IOException {
            try {
                use.run();
                accepted.add(count);
            } catch (IllegalArgumentException refused) {
                // as it should be
            }
            count++;
        }
    }

    /** The numbers of those uses that were not refused. */
    private static List<Integer> arguments(Path work) throws IOException {
        try (PhotoIndex index = PhotoIndex.openOrCreate(work, DIM, "tiny", "0")) {
            change(index);
            index.reload();
        }
        Uses uses = new Uses();
        long[] error = new long[6];
        try (Commit commit = Commit.open(work)) {
            commit.call((index, unused) -> {
                reading(uses, index, commit, error);
                writing(uses, index, work, error);
                return 0;
            });
        }
        for (Runnable use : ResizeUses.wrong()) {
            uses.refuse(() -> run(use));
        }
        for (Runnable use : ReadingProbe.wrong()) {
            uses.refuse(() -> run(use));
        }
        return uses.accepted;
    }

    private static Object run(Runnable use) {
        use.run();
        return 0;
    }

    private static byte[] path(Path folder, String name) {
        return folder.resolve(name).toString().getBytes(StandardCharsets.UTF_8);
    }

    private static byte[][] texts(String... texts) {
        return Arrays.stream(texts).map(text -> text.getBytes(StandardCharsets.UTF_8)).toArray(byte[][]::new);
    }

    private static void reading(Uses uses, long index, Commit commit, long[] error) throws IOException {
        long[] numbers = commit.manifest.segments().get(0).numbers();
        double[] counts = commit.manifest.segments().get(0).counts();
        byte[][] files = {commit.bytes(commit.manifest.segments().get(0).file()), null};
        int[][] none = {{}};
        uses.refuse(() -> IndexCore.openIndex(null, numbers, none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(new byte[2][], numbers, none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(new byte[1][], numbers, none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(texts("a\0b", "c"), numbers, none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, null, none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, new long[3], none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, new long[4], none, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, numbers, null, counts, DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, numbers, new int[1][], counts, DIM, error));
        for (int[] deleted : new int[][] {{-1}, {1, 1}, {2, 1}, {(int) numbers[2]}}) {
            uses.refuse(() -> IndexCore.openIndex(files, numbers, new int[][] {deleted}, counts, DIM, error));
        }
        uses.refuse(() -> IndexCore.openIndex(files, numbers, none, new double[8], DIM, error));
        uses.refuse(() -> IndexCore.openIndex(files, numbers, none, null, DIM, error));
        for (int dim : new int[] {0, -8, 60, 4104}) {
            uses.refuse(() -> IndexCore.openIndex(files, numbers, none, counts, dim, error));
        }
        uses.refuse(() -> IndexCore.openIndex(files, numbers, none, counts, DIM, new long[5]));
        uses.refuse(() -> IndexCore.openIndex(files, numbers, none, counts, DIM, null));
        uses.refuse(() -> IndexCore.verify(0, null, error));
        uses.refuse(() -> IndexCore.verify(index, ByteBuffer.allocate(4), error));
        uses.refuse(() -> IndexCore.verify(index, ByteBuffer.allocateDirect(3), error));
        uses.refuse(() -> IndexCore.verify(index, null, new long[7]));
        uses.refuse(() -> IndexCore.size(0));
        uses.refuse(() -> IndexCore.find(0, texts("a"), error));
        uses.refuse(() -> IndexCore.find(index, null, error));
        uses.refuse(() -> IndexCore.find(index, new byte[1][], error));
        uses.refuse(() -> IndexCore.find(index, texts("a"), null));
        for (long row : new long[] {-1, 1, 1L << 40, numbers[2] << 32}) {
            uses.refuse(() -> IndexCore.paths(index, new long[] {row}, error));
            uses.refuse(() -> IndexCore.readWords(index, new long[] {row}, error));
            uses.refuse(() -> IndexCore.photos(index, new long[] {row}, null, null, null, error));
        }
        uses.refuse(() -> IndexCore.paths(index, null, error));
        uses.refuse(() -> IndexCore.paths(0, new long[1], error));
        uses.refuse(() -> IndexCore.readWords(index, null, error));
        uses.refuse(() -> IndexCore.list(index, null, new long[1], error));
        uses.refuse(() -> IndexCore.list(index, new byte[0], new long[0], error));
        uses.refuse(() -> IndexCore.list(index, new byte[0], null, error));
        uses.refuse(() -> IndexCore.photos(index, new long[1], new int[1], null, null, error));
        uses.refuse(() -> IndexCore.photos(index, new long[1], null, new byte[0], null, error));
        uses.refuse(() -> IndexCore.photos(index, new long[1], null, null, new float[DIM - 1], error));
        byte[][] place = {};
        long[] count = new long[1];
        uses.refuse(() -> IndexCore.openFilter(index, new long[0][], place, count, error));
        uses.refuse(() -> IndexCore.openFilter(index, new long[1][], place, count, error));
        uses.refuse(() -> IndexCore.openFilter(index, new long[][] {{1, 2}}, place, count, error));
        uses.refuse(() -> IndexCore.openFilter(index, null, null, count, error));
        uses.refuse(() -> IndexCore.openFilter(index, null, new byte[1][], count, error));
        uses.refuse(() -> IndexCore.openFilter(index, null, place, new long[2], error));
        long all = commit.all.filter;
        float[] query = vector(DIM, 0);
        uses.refuse(() -> IndexCore.search(index, 0, query, true, new long[1], new float[1], new double[1], error));
        uses.refuse(() -> IndexCore.search(0, all, query, true, new long[1], new float[1], new double[1], error));
        uses.refuse(() -> IndexCore.search(index, all, null, true, new long[1], new float[1], new double[1], error));
        uses.refuse(() -> IndexCore.search(index, all, new float[DIM + 1], true, new long[1], new float[1],
            new double[1], error));
        uses.refuse(() -> IndexCore.search(index, all, query, true, new long[0], new float[0], new double[1], error));
        uses.refuse(() -> IndexCore.search(index, all, query, true, new long[2], new float[1], new double[1], error));
        uses.refuse(() -> IndexCore.search(index, all, query, true, new long[1], new float[1], null, error));
        byte[][] terms = texts("boarding");
        byte[] modes = {3};
        long[] row = {0};
        float[] out = {0};
        uses.refuse(() -> IndexCore.searchWords(index, 0, terms, modes, null, row, out, out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, null, modes, null, row, out, out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, terms, null, null, row, out, out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, terms, new byte[2], null, row, out, out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, terms, modes, new float[1], row, out, out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, terms, modes, null, row, new float[2], out, error));
        uses.refuse(() -> IndexCore.searchWords(index, all, terms, modes, null, row, out, null, error));
        uses.refuse(() -> IndexCore.alike(terms, new byte[0], terms));
        uses.refuse(() -> IndexCore.alike(terms, modes, null));
        uses.refuse(() -> IndexCore.alike(new byte[1][], modes, terms));
    }

    private static void writing(Uses uses, long index, Path work, long[] error) throws IOException {
        byte[] spool = path(work, "spool");
        uses.refuse(() -> IndexCore.openWriter(0, spool, -1, -1, error));
        uses.refuse(() -> IndexCore.openWriter(index, null, -1, -1, error));
        uses.refuse(() -> IndexCore.openWriter(index, new byte[0], -1, -1, error));
        long writer = IndexCore.openWriter(index, spool, -1, -1, error);
        byte[][] paths = texts("a.jpg");
        float[] row = vector(DIM, 0);
        int[] stamps = {1, 2};
        uses.refuse(() -> IndexCore.add(0, paths, row, stamps, new int[1], error));
        uses.refuse(() -> IndexCore.add(writer, null, row, stamps, new int[1], error));
        uses.refuse(() -> IndexCore.add(writer, paths, new float[DIM - 1], stamps, new int[1], error));
        uses.refuse(() -> IndexCore.add(writer, paths, null, stamps, new int[1], error));
        uses.refuse(() -> IndexCore.add(writer, paths, row, new int[1], new int[1], error));
        uses.refuse(() -> IndexCore.add(writer, paths, row, stamps, new int[2], error));
        uses.refuse(() -> IndexCore.move(writer, paths, texts(), stamps, error));
        uses.refuse(() -> IndexCore.move(writer, paths, paths, new int[3], error));
        uses.refuse(() -> IndexCore.move(writer, null, paths, stamps, error));
        uses.refuse(() -> IndexCore.delete(writer, null, error));
        uses.refuse(() -> IndexCore.delete(0, paths, error));
        uses.refuse(() -> IndexCore.setWords(writer, paths, texts(), error));
        uses.refuse(() -> IndexCore.setWords(writer, paths, null, error));
        byte[] file = path(work, "new");
        uses.refuse(() -> IndexCore.writeSegment(writer, file, null, new long[4], new double[9], error));
        uses.refuse(() -> IndexCore.names(writer, 0, error));
        uses.refuse(() -> IndexCore.writeWords(writer, 0, texts(), file, error));
        uses.refuse(() -> IndexCore.plan(writer, new byte[2], new int[1][], error));
        uses.refuse(() -> IndexCore.plan(writer, new byte[1], null, error));
        IndexCore.add(writer, paths, row, stamps, new int[1], error);
        IndexCore.setWords(writer, paths, new byte[][] {WordRecords.of(WORDS)}, error);
        long photos = IndexCore.plan(writer, new byte[1], new int[1][], error)[2];
        uses.refuse(() -> IndexCore.plan(writer, new byte[1], new int[1][], error));
        uses.refuse(() -> IndexCore.delete(writer, paths, error));
        uses.refuse(() -> IndexCore.writeSegment(writer, null, null, new long[4], new double[9], error));
        uses.refuse(() -> IndexCore.writeSegment(writer, file, null, new long[3], new double[9], error));
        uses.refuse(() -> IndexCore.writeSegment(writer, file, null, new long[4], new double[8], error));
        uses.refuse(() -> IndexCore.writeSegment(writer, file, ByteBuffer.allocate(4), new long[4], new double[9], error));
        IndexCore.writeSegment(writer, file, null, new long[4], new double[9], error);
        uses.refuse(() -> IndexCore.names(writer, 2, error));
        uses.refuse(() -> IndexCore.names(writer, -1, error));
        byte[] words = path(work, "words");
        uses.refuse(() -> IndexCore.writeWords(writer, 1, texts(), words, error));
        int named = IndexCore.names(writer, 1, error).length;
        uses.refuse(() -> IndexCore.writeWords(writer, 0, new byte[named][0], words, error));
        uses.refuse(() -> IndexCore.writeWords(writer, 1, new byte[named + 1][0], words, error));
        uses.refuse(() -> IndexCore.writeWords(writer, 1, null, words, error));
        if (photos < 1 || named < 1 || error[0] != 0) {
            throw new IllegalStateException("The right calls failed: " + Arrays.toString(error));
        }
        IndexCore.closeWriter(writer);
    }
}
