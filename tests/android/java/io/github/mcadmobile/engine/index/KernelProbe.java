package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.NativeLibrary;
import io.github.mcadmobile.engine.photos.ResizeUses;
import io.github.mcadmobile.engine.reading.ReadingProbe;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.zip.CRC32;

/**
 * What the kernels make of damage: `damage INDEX WORK SEED ROUNDS` searches copies of an index with bytes changed,
 * `arguments` gives each function what it must refuse, `memory INDEX` lets each allocation fail. `prescan` scans random
 * photos with and without a prescan that passes all of them on. Prints what came of it.
 */
public final class KernelProbe {
    private static final int HEADER = 4096;
    private static final int RESULTS = 5;

    private KernelProbe() {}

    public static void main(String[] arguments) throws IOException {
        NativeLibrary.load();
        if (arguments[0].equals("damage")) {
            damage(Paths.get(arguments[1]), Paths.get(arguments[2]), Long.parseLong(arguments[3]),
                Integer.parseInt(arguments[4]));
        } else if (arguments[0].equals("arguments")) {
            System.out.println(JsonFields.write(JsonFields.of("accepted", arguments())));
        } else if (arguments[0].equals("prescan")) {
            prescan();
        } else {
            memory(Paths.get(arguments[1]));
        }
    }

    // Of the library that is compiled for this test: how many allocations work from now on, how many blocks there are.
    private static native void allow(int allocations);

    private static native int blocks();

    /** Searches of all kinds: how many found something. Only IOException may come of one. */
    private static int searches(PhotoIndex index) {
        float[] query = new float[index.dim()];
        query[0] = 1;
        int found = 0;
        for (int kind = 0; kind < 4; kind++) {
            try {
                Hits hits = switch (kind) {
                    case 0 -> index.search(query, RESULTS);
                    case 1 -> index.search(query, 4 * RESULTS, true);
                    case 2 -> index.search(query, RESULTS, index.rows(new RowNumbers(key -> (int) (key & 3)), n -> n > 0));
                    default -> index.search(query, 1000);
                };
                found += hits.paths().length > 0 ? 1 : 0;
            } catch (IOException refused) {
                // that is what damage should come to
            }
        }
        return found;
    }

    private static void damage(Path from, Path work, long seed, int rounds) throws IOException {
        Random random = new Random(seed);
        String manifest = new String(Files.readAllBytes(from.resolve(Manifest.NAME)), StandardCharsets.UTF_8);
        List<String> names = new ArrayList<>();
        for (Manifest.Entry entry : Manifest.read(from).segments()) {
            names.add(entry.file());
        }
        List<byte[]> whole = new ArrayList<>();
        for (String name : names) {
            whole.add(Files.readAllBytes(from.resolve(name)));
            Files.copy(from.resolve(name), work.resolve(name));
        }
        int opened = 0;
        int found = 0;
        for (int round = 0; round < rounds; round++) {
            int s = random.nextInt(names.size());
            byte[] mutant = mutant(whole.get(s), random);
            replace(work.resolve(names.get(s)), mutant);
            String text = manifest.replace(":" + crc(whole.get(s)), ":" + crc(mutant));
            String blank = text.substring(0, 11) + "00000000" + text.substring(19);
            CRC32 crc = new CRC32();
            crc.update(blank.getBytes(StandardCharsets.UTF_8));
            text = text.substring(0, 11) + String.format("%08x", crc.getValue()) + text.substring(19);
            Files.write(work.resolve(Manifest.NAME), text.getBytes(StandardCharsets.UTF_8));
            try (PhotoIndex index = PhotoIndex.open(work)) {
                opened++;
                found += searches(index);
            } catch (IOException refused) {
                // at the door
            }
            replace(work.resolve(names.get(s)), whole.get(s));
            if (round % 100 == 0) {
                System.gc(); // a deleted file that is mapped takes its place on the disk
            }
        }
        System.out.println(JsonFields.write(JsonFields.of("rounds", rounds, "opened", opened, "found", found)));
    }

    /** An open map of the file before keeps its bytes. */
    private static void replace(Path file, byte[] bytes) throws IOException {
        Files.delete(file);
        Files.write(file, bytes);
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
            int part = 40 + 24 * random.nextInt(Layout.PARTS.length);
            long start = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong(part);
            long length = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong(part + 8);
            int at = switch (random.nextInt(8)) {
                case 0 -> 8 + random.nextInt(32 + 24 * Layout.PARTS.length);
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

    private static void memory(Path directory) throws IOException {
        int failed = 0;
        int worked = 0;
        int enough = -1;
        int left = 0;
        try (PhotoIndex index = PhotoIndex.open(directory)) {
            for (int allocations = 0; worked < 20; allocations++) {
                allow(allocations);
                try {
                    worked += searches(index) == 4 ? 1 : 0;
                    enough = enough < 0 ? allocations : enough;
                } catch (OutOfMemoryError error) {
                    failed++;
                }
                left += blocks();
            }
            allow(-1);
        }
        System.out.println(JsonFields.write(JsonFields.of("failed", failed, "enough", enough, "left", left)));
    }

    private static void prescan() {
        int photos = 300;
        Random random = new Random(1);
        ByteBuffer columns = bytes(2 * 8 * photos);
        while (columns.hasRemaining()) {
            columns.putLong(random.nextLong());
        }
        long[] query = random.longs(3 * 2).toArray();
        int[] all = {0, photos};
        int[] once = Kernel.nearest(columns, photos, query, all, null, 0, 0, 20);
        int[] twice = Kernel.nearest(columns, photos, query, all, null, 1, photos, 20);
        System.out.println(JsonFields.write(JsonFields.of("once", once, "twice", twice)));
    }

    private interface Use {
        void run();
    }

    private static ByteBuffer bytes(int count) {
        return ByteBuffer.allocateDirect(count);
    }

    /** The numbers of those uses that were not refused. */
    private static List<Integer> arguments() {
        ByteBuffer columns = bytes(80);
        ByteBuffer bits = bytes(8);
        long[] query = new long[3];
        int[] all = {0, 10};
        int[] starts = {0, 4, 10};
        List<Use> uses = new ArrayList<>();
        // photos, query, spans, allowed, prescanWords, prescanned, wanted
        uses.add(() -> Kernel.nearest(null, 10, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(ByteBuffer.allocate(80), 10, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(bytes(79), 10, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(bytes(88).position(1).slice(), 10, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 11, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 0, query, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, null, all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, new long[4], all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(bytes(80 * 65), 10, new long[3 * 65], all, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, null, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, new int[] {0}, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, new int[] {0, 11}, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, new int[] {-1, 5}, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, new int[] {5, 5}, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, new int[] {0, 5, 4, 9}, null, 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, all, bytes(7), 0, 0, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, all, null, 2, 5, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, all, null, -1, 5, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, all, null, 1, -1, 3));
        uses.add(() -> Kernel.nearest(columns, 10, query, all, null, 0, 0, -3));
        // rows, photos, starts, rowBits, placeBits, counts, order, enough
        uses.add(() -> Kernel.probe(null, 10, starts, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(39), 10, starts, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, starts, bytes(7), bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, starts, bits, null, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, new int[] {0, 4}, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, new int[] {0, 11, 10}, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, new int[] {1, 4, 10}, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, new int[] {0, 4, 11}, bits, bits, new int[] {-1, -1}, all(2), 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, starts, bits, bits, new int[] {-1, -1}, new int[] {2}, 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, starts, bits, bits, new int[] {-1, -1}, new int[] {-1}, 3));
        uses.add(() -> Kernel.probe(bytes(40), 10, starts, bits, bits, new int[] {-1, -1}, all(2), -1));
        uses.add(() -> Kernel.rotate(new float[0], false));
        uses.add(() -> Kernel.rotate(new float[4097], false));
        uses.add(() -> Kernel.rotate(null, true));
        float[] row = new float[64];
        ByteBuffer square = bytes(8 * 64 * 64);
        uses.add(() -> Kernel.rotate(new float[60], false));
        uses.add(() -> Kernel.prepare(new float[60]));
        uses.add(() -> Kernel.prepare(null));
        uses.add(() -> Kernel.encode(new float[65], row, null, new byte[76]));
        uses.add(() -> Kernel.encode(null, row, null, new byte[76]));
        uses.add(() -> Kernel.encode(row, null, null, new byte[76]));
        uses.add(() -> Kernel.encode(row, row, bytes(4 * 64 * 64 - 1), new byte[76]));
        uses.add(() -> Kernel.encode(row, row, null, new byte[75]));
        uses.add(() -> Kernel.encode(row, row, null, null));
        uses.add(() -> Kernel.decode(new byte[77], row, row));
        uses.add(() -> Kernel.decode(new byte[76], row, new float[63]));
        uses.add(() -> Kernel.decode(new byte[76], null, row));
        uses.add(() -> Kernel.split(new float[63], row, new double[64]));
        uses.add(() -> Kernel.split(row, row, new double[63]));
        uses.add(() -> Kernel.addUp(new float[65], new double[64]));
        uses.add(() -> Kernel.addUp(row, null));
        uses.add(() -> Kernel.axis(new double[63], row));
        uses.add(() -> Kernel.axis(new double[64], null));
        uses.add(() -> Kernel.addCovariance(new float[65], row, square));
        uses.add(() -> Kernel.addCovariance(row, row, bytes(8 * 64 * 64 - 1)));
        uses.add(() -> Kernel.feedback(bytes(8 * 64 * 64 - 1), 64, square));
        uses.add(() -> Kernel.feedback(square, 64, bytes(4 * 64 * 64 - 1)));
        uses.add(() -> Kernel.feedback(square, -64, square));
        uses.add(() -> Kernel.shrink(new float[65], 64, bytes(128), 0));
        uses.add(() -> Kernel.shrink(row, 64, bytes(128), 1));
        uses.add(() -> Kernel.shrink(row, 64, bytes(128), -1));
        uses.add(() -> Kernel.shrink(row, 0, bytes(128), 0));
        uses.add(() -> tune(bytes(127), 1, row, bytes(4 * 64 * 64), bytes(2 * 256 * 64), 12));
        uses.add(() -> tune(bytes(128), -1, row, bytes(4 * 64 * 64), bytes(2 * 256 * 64), 12));
        uses.add(() -> tune(bytes(128), 1, new float[60], bytes(4 * 64 * 64), bytes(2 * 256 * 64), 12));
        uses.add(() -> tune(bytes(128), 1, row, bytes(4 * 64 * 64 - 1), bytes(2 * 256 * 64), 12));
        uses.add(() -> tune(bytes(128), 1, row, bytes(4 * 64 * 64), bytes(2 * 256 * 64 - 1), 12));
        uses.add(() -> tune(bytes(128), 1, row, bytes(4 * 64 * 64), bytes(2 * 256 * 64), 11));
        uses.add(() -> Kernel.planMerge(new long[1], new long[2], 1, 1, new byte[2]));
        uses.add(() -> Kernel.planMerge(new long[2], null, 1, 1, new byte[2]));
        uses.add(() -> Kernel.assignCells(new float[65], row, bytes(128), 1, new int[1]));
        uses.add(() -> Kernel.assignCells(row, row, bytes(127), 1, new int[1]));
        uses.add(() -> Kernel.assignCells(row, row, bytes(128), 0, new int[1]));
        uses.add(() -> Kernel.assignCells(row, row, bytes(128), 1, new int[2]));
        uses.add(() -> Kernel.orderCells(row, bytes(127), new int[1]));
        uses.add(() -> Kernel.orderCells(new float[60], bytes(128), new int[1]));
        uses.add(() -> Kernel.quantize(bytes(4 * 64 * 64 - 1), row, new long[3]));
        uses.add(() -> Kernel.quantize(bytes(4 * 64 * 64), row, new long[4]));
        uses.add(() -> Kernel.quantize(bytes(8 * 64 * 64), row, new long[6]));
        uses.add(() -> Kernel.quantize(bytes(4 * 64 * 64), null, new long[3]));
        uses.add(() -> Kernel.open(null, 0));
        uses.add(() -> Kernel.readAlone(null));
        uses.add(() -> Kernel.readAlone(ByteBuffer.allocate(8)));
        uses.add(() -> Kernel.fetch(-1, new long[] {0, 5}));
        for (long[] spans : new long[][] {null, {5}, {0, 5, 9}, {-1, 5}, {5, 5}, {9, 5}, {0, 5, 9, 8},
            {Long.MIN_VALUE, Long.MAX_VALUE}}) {
            uses.add(() -> Kernel.fetch(0, spans));
        }
        // What stands at a place of these is wrong: descriptor, recordsAt, photos, words.
        long[] right = {0, 0, 10, 1};
        long[][] wrong = {{0, -1}, {0, 1L << 40}, {1, -1}, {1, Long.MAX_VALUE}, {2, 0}, {2, 1}, {2, 11}, {3, 2}, {3, -1}};
        for (long[] change : wrong) {
            long[] shape = right.clone();
            shape[(int) change[0]] = change[1];
            uses.add(() -> rescore(columns, shape, 64, new int[] {1, 2, 9}, new int[3], 1, 3));
        }
        uses.add(() -> rescore(null, right, 64, new int[] {1, 2, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(bytes(72), right, 64, new int[] {1, 2, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 63, new int[] {1, 2, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 0, new int[] {1, 2, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 4104, new int[] {1, 2, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 10}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 1, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {-1, 1, 9}, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 64, null, new int[3], 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[2], 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[] {0, 65536, 0}, 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[] {0, -1, 0}, 1, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[3], 0, 3));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[3], 1, 2));
        uses.add(() -> rescore(columns, right, 64, new int[] {1, 2, 9}, new int[3], 1, 4));
        uses.add(() -> rescore(columns, new long[3], 64, new int[] {1, 2, 9}, new int[3], 1, 3));
        // A file of words of one photo, then what is wrong of it: sizes are in the head.
        byte[] record = new byte[20];
        int[] rows = {0};
        int[] none = {0};
        byte[] file = Kernel.buildWords(new ByteBuffer[0], new int[0][], record, rows, 1, 7, none);
        ByteBuffer words = bytes(file.length).put(file);
        ByteBuffer[] maps = {words};
        long model = Kernel.openWords(words);
        uses.add(() -> Kernel.openWords(null));
        uses.add(() -> Kernel.openWords(bytes(39)));
        uses.add(() -> Kernel.words(bytes(39), model, rows));
        uses.add(() -> Kernel.words(words, 0, rows));
        uses.add(() -> Kernel.words(words, model, null));
        byte[] term = WordsFile.queries(List.of("a"), WordsFile.ANY_SOURCE);
        byte[] five = WordsFile.queries(List.of("a", "b", "c", "d", "e"), WordsFile.ANY_SOURCE);
        uses.add(() -> Kernel.findWords(null, term, new byte[1], 0, new int[1]));
        uses.add(() -> Kernel.findWords(words, Arrays.copyOf(term, 3), new byte[1], 0, new int[1]));
        uses.add(() -> Kernel.findWords(words, new byte[] {0, 7, 2, 'a'}, new byte[1], 0, new int[1]));
        uses.add(() -> Kernel.findWords(words, new byte[] {0, 7, 0, 'a'}, new byte[1], 0, new int[1]));
        uses.add(() -> Kernel.findWords(words, five, new byte[1], 0, new int[5]));
        uses.add(() -> Kernel.findWords(words, term, new byte[1], 1, new int[1]));
        uses.add(() -> Kernel.findWords(words, term, new byte[1], -1, new int[1]));
        uses.add(() -> Kernel.findWords(words, term, null, 0, new int[1]));
        uses.add(() -> Kernel.findWords(words, term, new byte[1], 0, new int[2]));
        uses.add(() -> Kernel.isLike(null, term));
        uses.add(() -> Kernel.isLike(term, null));
        byte[] marks = new byte[2];
        uses.add(() -> Kernel.rankWords(new byte[3], new float[512], null, 1, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(null, new float[512], null, 1, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[0], null, 1, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[511], null, 1, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[512], bytes(7), 1, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[512], null, 2, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[512], null, 0, rows, new float[1]));
        uses.add(() -> Kernel.rankWords(marks, new float[512], null, 1, rows, new float[2]));
        uses.add(() -> Kernel.buildWords(maps, new int[0][], record, rows, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {null}, record, rows, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0, 0}}, record, rows, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{1}}, record, rows, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, null, rows, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, record, new int[] {1}, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, record, new int[] {-1}, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, record, null, 1, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, record, rows, 0, 7, none));
        uses.add(() -> Kernel.buildWords(maps, new int[][] {{0}}, record, rows, 1, 7, null));
        ResizeUses.wrong().forEach(use -> uses.add(use::run));
        ReadingProbe.wrong().forEach(use -> uses.add(use::run));
        List<Integer> accepted = new ArrayList<>();
        for (int use = 0; use < uses.size(); use++) {
            try {
                uses.get(use).run();
                accepted.add(use);
            } catch (IllegalArgumentException refused) {
                // as it should be
            }
        }
        return accepted;
    }

    private static int[] all(int cells) {
        int[] order = new int[cells];
        Arrays.setAll(order, cell -> cell);
        return order;
    }

    private static void tune(ByteBuffer sample, int count, float[] axis, ByteBuffer bitWeights, ByteBuffer centroids,
            int counts) {
        Kernel.tune(sample, count, axis, 1, 1, false, bitWeights, centroids, new double[counts]);
    }

    private static void rescore(ByteBuffer columns, long[] shape, int dim, int[] places, int[] distances, int k, int all) {
        Kernel.rescore(new ByteBuffer[] {columns}, shape, new double[2], new double[][] {new double[dim]},
            new int[][] {places}, new int[][] {distances}, k, new float[all]);
    }
}
