package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.stream.Collectors;

/** The words of photos as C takes and gives them: see `mcad_words_read` in mcad_index.h. */
final class WordRecords {
    private static final int NUMBERS = 5;
    private static final int CORNERS = 8; // numbers of a line's box
    private static final int SCALE = 10_000;
    private static final int TEXT = 0;
    private static final int PLACE = 2;
    private static final int MOST_TEXT = (1 << 20) - (1 << 16) - 1;
    private static final int MOST_LINES = 65_535;
    private static final int MOST_PLACES = 64;
    private static final int MOST_PLACE = (1 << 16) / MOST_PLACES - 1;

    private WordRecords() {}

    /** A record with its terms; what is too much is left out. */
    static byte[] of(PhotoWords words) {
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
        String all = words.lines().stream().map(PhotoWords.Line::text).collect(Collectors.joining(" \n"));
        byte[] terms = terms(all, TEXT);
        byte[] ofPlaces = terms(String.join("\n", words.places()), PLACE);
        ByteBuffer record = ByteBuffer.allocate(Integer.BYTES * NUMBERS + Short.BYTES * CORNERS * lines.size()
            + text.size() + terms.length + ofPlaces.length).order(ByteOrder.LITTLE_ENDIAN);
        record.putInt(words.read() ? 1 : 0).putInt(lines.size()).putInt(places);
        record.putInt(text.size()).putInt(terms.length + ofPlaces.length);
        for (PhotoWords.Line line : lines) {
            for (int number : line.box().isEmpty() ? Collections.nCopies(CORNERS, 0) : line.box()) {
                record.putShort((short) Math.max(0, Math.min(SCALE, number)));
            }
        }
        return record.put(text.toByteArray()).put(terms).put(ofPlaces).array();
    }

    /** Append a text of at most {@code most} bytes as a line; return its bytes. */
    private static int append(String text, int most, ByteArrayOutputStream out) {
        byte[] raw = text.replace('\n', ' ').getBytes(StandardCharsets.UTF_8);
        out.write(raw, 0, Math.min(raw.length, most));
        out.write('\n');
        return Math.min(raw.length, most) + 1;
    }

    /** The terms of a text, each once: of each its source, if there is one, its bytes in one byte, and these. */
    static byte[] terms(String text, int... source) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (byte[] term : Terms.bytes(new LinkedHashSet<>(Folding.fold(text)))) {
            for (int of : source) {
                out.write(of);
            }
            out.write(term.length);
            out.write(term, 0, term.length);
        }
        return out.toByteArray();
    }

    /** What a record says. */
    static PhotoWords words(byte[] record) {
        ByteBuffer in = ByteBuffer.wrap(record).order(ByteOrder.LITTLE_ENDIAN);
        boolean isRead = in.getInt() != 0;
        int lineCount = in.getInt();
        int placeCount = in.getInt();
        byte[] text = new byte[in.getInt()];
        in.getInt(); // terms are left out
        List<List<Integer>> boxes = new ArrayList<>();
        for (int line = 0; line < lineCount; line++) {
            List<Integer> box = new ArrayList<>();
            for (int i = 0; i < CORNERS; i++) {
                box.add((int) in.getShort());
            }
            boxes.add(box.stream().allMatch(number -> number == 0) ? List.of() : box);
        }
        in.get(text);
        String[] texts = new String(text, StandardCharsets.UTF_8).split("\n", -1);
        List<PhotoWords.Line> lines = new ArrayList<>();
        for (int line = 0; line < lineCount; line++) {
            lines.add(new PhotoWords.Line(texts[line], boxes.get(line)));
        }
        return new PhotoWords(lines, List.of(texts).subList(lineCount, lineCount + placeCount), isRead);
    }
}
