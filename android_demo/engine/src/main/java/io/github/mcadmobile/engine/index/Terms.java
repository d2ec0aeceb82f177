package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.Match;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** The terms of a query for C: their bytes, and how words may match each beside being it. */
record Terms(byte[][] words, byte[] modes) {
    private static final int BEGINS = 1;
    private static final int NEAR = 2;
    private static final int START_LETTERS = 3;
    private static final int NEAR_LETTERS = 5;

    static Terms of(List<String> terms) {
        byte[] modes = new byte[terms.size()];
        for (int i = 0; i < modes.length; i++) {
            String term = terms.get(i);
            int letters = term.codePointCount(0, term.length());
            boolean isNear = letters >= NEAR_LETTERS && term.codePoints().allMatch(Character::isLetter);
            modes[i] = (byte) ((letters >= START_LETTERS ? BEGINS : 0) | (isNear ? NEAR : 0));
        }
        return new Terms(bytes(terms), modes);
    }

    static byte[][] bytes(Collection<String> terms) {
        return terms.stream().map(term -> term.getBytes(StandardCharsets.UTF_8)).toArray(byte[][]::new);
    }

    /** All lines of a photo with their folded words: of its text, its name, its places. */
    static List<Match> lines(String name, PhotoWords words) {
        List<Match> lines = new ArrayList<>();
        for (PhotoWords.Line line : words.lines()) {
            lines.add(line("text", line.text(), line.box()));
        }
        lines.add(line("name", name, List.of()));
        for (String place : words.places()) {
            lines.add(line("place", place, List.of()));
        }
        return lines;
    }

    private static Match line(String source, String line, List<Integer> box) {
        return new Match(source, new ArrayList<>(new LinkedHashSet<>(Folding.fold(line))), line, box);
    }

    /** Of the lines of photos, keep the words that match a term, and the lines that have some. */
    void keepMatching(List<List<Match>> photos) {
        Set<String> distinct = new LinkedHashSet<>();
        photos.forEach(lines -> lines.forEach(line -> distinct.addAll(line.words())));
        byte[] alike = IndexCore.alike(words, modes, bytes(distinct));
        int[] at = {0};
        distinct.removeIf(word -> alike[at[0]++] == 0);
        for (List<Match> lines : photos) {
            lines.forEach(line -> line.words().retainAll(distinct));
            lines.removeIf(line -> line.words().isEmpty());
        }
    }
}
