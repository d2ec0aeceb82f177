package io.github.mcadmobile.engine.text;

import java.text.Normalizer;
import java.util.Locale;

/** Character classes as defined by Hugging Face's `tokenizers`. */
public final class Characters {
    private Characters() {}

    /** Normalizes to a Unicode form. ASCII needs none, so most queries do not load the normalization tables. */
    static String normalized(String text, Normalizer.Form form) {
        int at = 0;
        while (at < text.length() && text.charAt(at) < 128) {
            at++;
        }
        return at == text.length() ? text : Normalizer.normalize(text, form);
    }

    /** The property White_Space. */
    public static boolean isSpace(int c) {
        return c >= 9 && c <= 13 || c == ' ' || c == 0x85 || c == 0xA0 || c == 0x1680 || c >= 0x2000 && c <= 0x200A
            || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
    }

    /** The characters that BERT drops: control, format, private use, surrogate. Line ends and tabs count as spaces. */
    static boolean isControl(int c) {
        if (c == '\t' || c == '\n' || c == '\r') {
            return false;
        }
        int type = Character.getType(c);
        return type == Character.CONTROL || type == Character.FORMAT || type == Character.PRIVATE_USE
            || type == Character.SURROGATE;
    }

    static boolean isPunctuation(int c) {
        if (c < 128) {
            return c > ' ' && c < 127 && !Character.isLetterOrDigit(c);
        }
        switch (Character.getType(c)) {
            case Character.CONNECTOR_PUNCTUATION:
            case Character.DASH_PUNCTUATION:
            case Character.START_PUNCTUATION:
            case Character.END_PUNCTUATION:
            case Character.INITIAL_QUOTE_PUNCTUATION:
            case Character.FINAL_QUOTE_PUNCTUATION:
            case Character.OTHER_PUNCTUATION:
                return true;
            default:
                return false;
        }
    }

    /** CJK ideographs in the blocks that BERT splits into single characters. */
    static boolean isIdeograph(int c) {
        return c >= 0x4E00 && c <= 0x9FFF || c >= 0x3400 && c <= 0x4DBF || c >= 0x20000 && c <= 0x2A6DF
            || c >= 0x2A700 && c <= 0x2B73F || c >= 0x2B740 && c <= 0x2B81F || c >= 0x2B920 && c <= 0x2CEAF
            || c >= 0xF900 && c <= 0xFAFF || c >= 0x2F800 && c <= 0x2FA1F;
    }

    static boolean isNonspacingMark(int c) {
        return Character.getType(c) == Character.NON_SPACING_MARK;
    }

    static boolean isMark(int c) {
        int type = Character.getType(c);
        return type == Character.NON_SPACING_MARK || type == Character.ENCLOSING_MARK
            || type == Character.COMBINING_SPACING_MARK;
    }

    /** Marks, joiners and skin tones, which continue a grapheme cluster (UAX 29). */
    static boolean isExtending(int c) {
        return isMark(c) || c == 0x200C || c == 0x200D || c >= 0x1F3FB && c <= 0x1F3FF;
    }

    /** White space as in Python's str.split(), which adds four separators. */
    static boolean isWordBreak(int c) {
        return isSpace(c) || c >= 0x1C && c <= 0x1F;
    }

    /** Lowercases characters one by one: lowercasing a whole word would apply the final-sigma rule. */
    static String lower(String text) {
        if (text.indexOf('\u03a3') < 0) {
            return text.toLowerCase(Locale.ROOT);
        }
        StringBuilder lower = new StringBuilder(text.length());
        text.codePoints().forEach(c -> lower.append(new String(Character.toChars(c)).toLowerCase(Locale.ROOT)));
        return lower.toString();
    }

    static String trimmed(String text, boolean left, boolean right) {
        int start = 0;
        int end = text.length();
        while (left && start < end && isSpace(text.charAt(start))) {
            start++;
        }
        while (right && end > start && isSpace(text.charAt(end - 1))) {
            end--;
        }
        return text.substring(start, end);
    }
}
