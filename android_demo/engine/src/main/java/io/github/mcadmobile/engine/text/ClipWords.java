package io.github.mcadmobile.engine.text;

import java.util.Collections;
import java.util.List;

/**
 * CLIP's word pattern: contractions, runs of letters, single digits, and runs of anything else but space. {@code
 * specials}: words that the pattern names itself; {@code splitsSpecials}: a byte-level splitter follows, which splits
 * those once more. {@code anyCase}: case is ignored, so the long s counts as an s, and the combining iota (U+0345) as
 * neither a letter nor a mark.
 */
final class ClipWords implements Words {
    private static final String[] CONTRACTIONS = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    private static final int SPACE = 0;
    private static final int LETTER = 1;
    private static final int NUMBER = 2;
    private static final int OTHER = 3;

    private final List<String> specials;
    private final boolean splitsSpecials;
    private final boolean anyCase;

    ClipWords(List<String> specials, boolean splitsSpecials, boolean anyCase) {
        this.specials = specials;
        this.splitsSpecials = splitsSpecials;
        this.anyCase = anyCase;
    }

    @Override
    public void split(String text, boolean first, List<String> words) {
        for (int at = 0; at < text.length();) {
            int end = end(text, at);
            String word = text.substring(at, end);
            if (splitsSpecials && specials.contains(word)) {
                new ClipWords(Collections.emptyList(), false, anyCase).split(word, first, words);
            } else if (kind(text.codePointAt(at)) != SPACE) {
                words.add(word);
            }
            at = end;
        }
    }

    private int end(String text, int at) {
        for (String word : specials) {
            if (text.startsWith(word, at)) {
                return at + word.length();
            }
        }
        if (text.charAt(at) == '\'') {
            for (String contraction : CONTRACTIONS) {
                if (text.startsWith(contraction, at)) {
                    return at + contraction.length();
                }
            }
            if (anyCase && text.startsWith("\u017f", at + 1)) {
                return at + 2;
            }
        }
        int code = text.codePointAt(at);
        int kind = kind(code);
        int end = at + Character.charCount(code);
        while (kind != NUMBER && end < text.length() && kind(text.codePointAt(end)) == kind) {
            end += Character.charCount(text.codePointAt(end));
        }
        return end;
    }

    private int kind(int c) {
        if (Characters.isSpace(c) || anyCase && c == 0x345) {
            return SPACE;
        }
        switch (Character.getType(c)) {
            case Character.UPPERCASE_LETTER:
            case Character.LOWERCASE_LETTER:
            case Character.TITLECASE_LETTER:
            case Character.MODIFIER_LETTER:
            case Character.OTHER_LETTER:
                return LETTER;
            case Character.DECIMAL_DIGIT_NUMBER:
            case Character.LETTER_NUMBER:
            case Character.OTHER_NUMBER:
                return NUMBER;
            default:
                return OTHER;
        }
    }
}
