package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.zip.CRC32;

/** The words of a segment's photos, row by row, in a mapped file (docs/index-format.md) that C reads and writes. */
final class WordsFile implements Closeable {
    static final int TERMS = 4; // that are found at once
    static final int ANY_SOURCE = 7;
    static final int PLACE = 1 << 2;
    private static final int BEGINS = 1;
    private static final int NEAR = 2;
    private static final int START_LETTERS = 3;
    private static final int NEAR_LETTERS = 5;
    private static final byte[] MAGIC = "MCADWRD1".getBytes(StandardCharsets.US_ASCII);
    private static final int HEAD = 40;
    private static final int CRC_AT = 8;
    private static final int GROUP = 16;
    private static final int PHOTO_NUMBERS = 5;
    private static final int LINE_NUMBERS = 8;
    private static final int SCALE = 10_000;
    private static final int MOST_TEXT = (1 << 20) - (1 << 16) - 1;
    private static final int MOST_LINES = 65_535;
    private static final int MOST_PLACES = 64;
    private static final int MOST_PLACE = (1 << 16) / MOST_PLACES - 1;

    final SegmentFile file;
    private final int photos;
    private final ByteBuffer map;
    /** What texts are coded by, in C; 0 until a text is read. */
    private long model;

    /** NoSuchFileException if the file is gone; McadException if it is damaged, or of another segment. */
    static WordsFile open(Path path, Segment segment) throws IOException {
        SegmentFile file = new SegmentFile(path);
        try {
            return new WordsFile(file, segment);
        } catch (IOException | RuntimeException error) {
            file.close();
            throw error;
        }
    }

    private WordsFile(SegmentFile file, Segment segment) throws IOException {
        this.file = file;
        photos = segment.photos;
        ByteBuffer head = file.read(0, HEAD);
        if (!Arrays.equals(Arrays.copyOf(head.array(), CRC_AT), MAGIC) || head.getInt(12) != (int) segment.headerCrc
                || head.getInt(16) != photos) {
            throw file.damaged("it is not of its segment");
        }
        long size = HEAD + (photos + 7) / 8 + 8 * (head.getInt(20) & 0xffffffffL) + (photos + GROUP - 1) / GROUP * 4L;
        for (int part = 24; part < HEAD; part += 4) {
            size += head.getInt(part) & 0xffffffffL;
        }
        if (size != file.size || size > Integer.MAX_VALUE) {
            throw file.damaged("it has " + file.size + " bytes, not " + size);
        }
        map = file.channel.map(FileChannel.MapMode.READ_ONLY, 0, size).order(ByteOrder.LITTLE_ENDIAN);
    }

    /** McadException if the file is not what its checksum says. */
    void verify() throws IOException {
        file.checkSize();
        if ((int) checksum(map) != map.getInt(CRC_AT)) {
            throw file.damaged("its checksum is another one");
        }
    }

    private static long checksum(ByteBuffer data) {
        ByteBuffer rest = data.duplicate();
        rest.position(CRC_AT + 4);
        CRC32 crc = new CRC32();
        crc.update(rest);
        return crc.getValue();
    }

    /**
     * Find at most {@link #TERMS} terms in {@code sources}; in one source, only as wholes. Sets a group of
     * {@code marks} [groups][photos], zeros, to how each photo matches them, in two bits for each; how many photos do.
     */
    int[] find(List<String> terms, int sources, byte[] marks, int group) throws IOException {
        file.checkSize();
        int[] counts = new int[terms.size()];
        if (!Kernel.findWords(map, queries(terms, sources), marks, group, counts)) {
            throw file.damaged("its dictionary cannot be read");
        }
        return counts;
    }

    /** Terms for {@link Kernel}: of each, how it may match, its sources, the number of its bytes, and these. */
    static byte[] queries(List<String> terms, int sources) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (String term : terms) {
            byte[] raw = term.getBytes(StandardCharsets.UTF_8);
            int letters = sources == ANY_SOURCE ? term.codePointCount(0, term.length()) : 0;
            boolean isNear = letters >= NEAR_LETTERS && term.codePoints().allMatch(Character::isLetter);
            out.write((letters >= START_LETTERS ? BEGINS : 0) | (isNear ? NEAR : 0));
            out.write(sources);
            out.write(raw.length);
            out.write(raw, 0, raw.length);
        }
        return out.toByteArray();
    }

    /** Whether the text of a photo was read. */
    boolean isRead(int row) throws IOException {
        file.checkSize();
        return (map.get(HEAD + row / 8) >> row % 8 & 1) != 0;
    }

    /** What is known of photos. */
    List<PhotoWords> photos(int... rows) throws IOException {
        file.checkSize();
        if (model == 0) {
            model = Kernel.openWords(map);
        }
        byte[] records = model == 0 ? null : Kernel.words(map, model, rows);
        if (records == null) {
            throw file.damaged("the texts of a photo cannot be read");
        }
        List<PhotoWords> found = new ArrayList<>();
        ByteBuffer in = ByteBuffer.wrap(records).order(ByteOrder.LITTLE_ENDIAN);
        while (in.hasRemaining()) {
            boolean read = in.getInt() != 0;
            int lineCount = in.getInt();
            int placeCount = in.getInt();
            byte[] text = new byte[in.getInt()];
            in.getInt(); // terms are left out
            List<List<Integer>> boxes = new ArrayList<>();
            for (int line = 0; line < lineCount; line++) {
                Integer[] box = new Integer[LINE_NUMBERS];
                for (int i = 0; i < LINE_NUMBERS; i++) {
                    box[i] = (int) in.getShort();
                }
                boxes.add(Arrays.stream(box).allMatch(number -> number == 0) ? List.of() : List.of(box));
            }
            in.get(text);
            List<String> texts = Arrays.asList(new String(text, StandardCharsets.UTF_8).split("\n", -1));
            List<PhotoWords.Line> lines = new ArrayList<>();
            for (int line = 0; line < lineCount; line++) {
                lines.add(new PhotoWords.Line(texts.get(line), boxes.get(line)));
            }
            found.add(new PhotoWords(lines, texts.subList(lineCount, lineCount + placeCount), read));
        }
        return found;
    }

    @Override
    public void close() throws IOException {
        file.close();
        Kernel.closeWords(model);
        model = 0;
    }

    /** Gathers the words of a new segment's photos: of new rows, and of rows that other files have. */
    static final class Builder {
        private final int photos;
        private final List<LiveSegment> segments;
        /** For each segment, the new rows of its photos, or -1; null if none is kept. */
        private final int[][] newRows;
        private final ByteArrayOutputStream records = new ByteArrayOutputStream();
        private final List<Integer> rows = new ArrayList<>();

        Builder(int photos, List<LiveSegment> segments) {
            this.photos = photos;
            this.segments = segments;
            newRows = new int[segments.size()][];
        }

        /** A photo's words, and what its file and folders are called. */
        void add(int row, String name, PhotoWords words) {
            ByteArrayOutputStream text = new ByteArrayOutputStream();
            List<PhotoWords.Line> lines = new ArrayList<>();
            int left = MOST_TEXT;
            for (PhotoWords.Line line : words.lines()) {
                if (left <= 0 || lines.size() == MOST_LINES) {
                    break;
                }
                left -= append(line.text(), left, text);
                lines.add(line);
            }
            int places = Math.min(words.places().size(), MOST_PLACES);
            for (String place : words.places().subList(0, places)) {
                append(place, MOST_PLACE, text);
            }
            ByteArrayOutputStream terms = new ByteArrayOutputStream();
            addTerms(0, words.lines().stream().map(PhotoWords.Line::text).collect(Collectors.joining(" \n")), terms);
            addTerms(1, name, terms);
            addTerms(2, String.join("\n", words.places()), terms);
            ByteBuffer numbers = ByteBuffer.allocate(4 * PHOTO_NUMBERS + 2 * LINE_NUMBERS * lines.size())
                .order(ByteOrder.LITTLE_ENDIAN);
            numbers.putInt(words.read() ? 1 : 0).putInt(lines.size()).putInt(places).putInt(text.size()).putInt(terms.size());
            for (PhotoWords.Line line : lines) {
                for (int number : line.box().isEmpty() ? Collections.nCopies(LINE_NUMBERS, 0) : line.box()) {
                    numbers.putShort((short) Math.max(0, Math.min(SCALE, number)));
                }
            }
            for (byte[] part : new byte[][] {numbers.array(), text.toByteArray(), terms.toByteArray()}) {
                records.write(part, 0, part.length);
            }
            rows.add(row);
        }

        /** Keep what a segment knows of a photo. */
        void keep(int newRow, int segment, int row) {
            if (newRows[segment] == null) {
                newRows[segment] = new int[segments.get(segment).segment().photos];
                Arrays.fill(newRows[segment], -1);
            }
            newRows[segment][row] = newRow;
        }

        /** Write the file and flush it to disk. */
        void write(Path path, long segmentCrc) throws IOException {
            ByteBuffer[] maps = new ByteBuffer[newRows.length];
            for (int s = 0; s < maps.length; s++) {
                maps[s] = newRows[s] == null ? null : segments.get(s).words().map;
            }
            int[] damaged = {0};
            byte[] made = Kernel.buildWords(maps, newRows, records.toByteArray(),
                rows.stream().mapToInt(Integer::intValue).toArray(), photos, (int) segmentCrc, damaged);
            if (made == null) {
                throw segments.get(damaged[0]).words().file.damaged("its words cannot be read");
            }
            ByteBuffer data = ByteBuffer.wrap(made).order(ByteOrder.LITTLE_ENDIAN);
            data.putInt(CRC_AT, (int) checksum(data));
            try (FileChannel out = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                while (data.hasRemaining()) {
                    out.write(data);
                }
                out.force(true);
            }
        }

        /** Append a text of at most {@code most} bytes as a line; return its bytes. */
        private static int append(String text, int most, ByteArrayOutputStream out) {
            byte[] raw = text.replace('\n', ' ').getBytes(StandardCharsets.UTF_8);
            out.write(raw, 0, Math.min(raw.length, most));
            out.write('\n');
            return Math.min(raw.length, most) + 1;
        }

        private static void addTerms(int source, String text, ByteArrayOutputStream out) {
            Set<String> distinct = new LinkedHashSet<>(Folding.fold(text));
            for (String term : distinct) {
                byte[] raw = term.getBytes(StandardCharsets.UTF_8);
                out.write(source);
                out.write(raw.length);
                out.write(raw, 0, raw.length);
            }
        }
    }
}
