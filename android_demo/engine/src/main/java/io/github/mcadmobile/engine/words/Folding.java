package io.github.mcadmobile.engine.words;

import java.text.Normalizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Words as an index holds them: without case, accents and width. As mcad_mobile/engine/words/folding.py. */
public final class Folding {
    /** A longer word is cut, to at most 255 bytes. */
    private static final int MOST_LETTERS = 63;
    /** Letters that NFKD leaves whole. */
    private static final String WHOLE = "ßæœøłđıþς";
    private static final String[] PLAIN = {"ss", "ae", "oe", "o", "l", "d", "i", "th", "σ"};
    private static final Pattern MARKS = Pattern.compile("[\\u0300-\\u036f]");
    private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{M}\\p{N}]+");
    /** Thai, Japanese and Chinese put no spaces between words. */
    private static final Pattern NO_SPACES = Pattern.compile("[\\u0e01-\\u0e5b\\u3041-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf"
        + "\\u4e00-\\u9fff\\uf900-\\ufaff\\x{20000}-\\x{3ffff}]+");

    private Folding() {}

    /**
     * The terms of a text, in its order: each run of letters, marks and digits, in small letters without accents; of
     * writing without spaces, each two neighbouring characters.
     */
    public static List<String> fold(String text) {
        String bare = MARKS.matcher(Normalizer.normalize(text, Normalizer.Form.NFKD)).replaceAll("").toLowerCase(Locale.ROOT);
        StringBuilder plain = new StringBuilder();
        for (char letter : bare.toCharArray()) {
            int at = WHOLE.indexOf(letter);
            plain.append(at < 0 ? String.valueOf(letter) : PLAIN[at]);
        }
        List<String> terms = new ArrayList<>();
        for (Matcher word = WORD.matcher(Normalizer.normalize(plain, Normalizer.Form.NFC)); word.find();) {
            split(word.group(), terms);
        }
        return terms;
    }

    private static void split(String word, List<String> terms) {
        int at = 0;
        for (Matcher found = NO_SPACES.matcher(word); found.find(); at = found.end()) {
            add(word.substring(at, found.start()), terms);
            int[] run = found.group().codePoints().toArray();
            for (int i = 0; i < Math.max(1, run.length - 1); i++) {
                add(new String(run, i, Math.min(2, run.length)), terms);
            }
        }
        add(word.substring(at), terms);
    }

    private static void add(String term, List<String> terms) {
        if (!term.isEmpty()) {
            boolean fits = term.codePointCount(0, term.length()) <= MOST_LETTERS;
            terms.add(fits ? term : term.substring(0, term.offsetByCodePoints(0, MOST_LETTERS)));
        }
    }
}
