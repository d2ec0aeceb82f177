package io.github.mcadmobile.engine.text;

import java.text.Normalizer;
import java.util.regex.Pattern;

/** open_clip's text cleaning, as in mcad_mobile/engine/text/normalize.py: ftfy's fixes of single characters. */
final class Clean {
    private static final String LIGATURES =
        "\u0132\u0133\u0149\u01f1\u01f2\u01f3\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc\ufb00\ufb01\ufb02"
        + "\ufb03\ufb04\ufb06";
    private static final String WINDOWS_1252 =
        "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f"
        + "\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178";
    private static final Pattern TERMINAL = Pattern.compile("\u001b\\[[\\p{Nd};]*[a-zA-Z]");
    private static final Pattern CONTROLS = Pattern.compile(
        "[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f\\x{206a}-\\x{206f}\\x{feff}\\x{fff9}-\\x{fffc}]");
    private static final Pattern LINE_ENDS = Pattern.compile("\r\n|[\r\\x{2028}\\x{2029}\\x{85}]");

    private Clean() {}

    static String basicClean(String text) {
        String clean = repaired(text);
        int start = 0;
        int end = clean.length();
        while (start < end && Characters.isWordBreak(clean.charAt(start))) {
            start++;
        }
        while (end > start && Characters.isWordBreak(clean.charAt(end - 1))) {
            end--;
        }
        return clean.substring(start, end);
    }

    private static String repaired(String text) {
        String clean = text;
        while (true) {
            String before = clean;
            StringBuilder narrow = new StringBuilder(clean.length());
            clean.codePoints().forEach(c -> narrow.append(narrow(c)));
            clean = LINE_ENDS.matcher(narrow).replaceAll("\n");
            clean = CONTROLS.matcher(TERMINAL.matcher(clean).replaceAll("")).replaceAll("");
            clean = Characters.normalized(clean, Normalizer.Form.NFC);
            if (clean.equals(before)) {
                return clean;
            }
        }
    }

    /** C1 controls read as Windows-1252, ligatures split, full-width forms narrowed, quotes straightened. */
    private static String narrow(int c) {
        if (c < 0x80) {
            return String.valueOf((char) c);
        }
        if (c < 0xA0) {
            return straight(WINDOWS_1252.charAt(c - 0x80));
        }
        if (c == 0xFB05) {
            return "\u017ft";
        }
        if (c == 0x3000) {
            return " ";
        }
        String self = new String(Character.toChars(c));
        if (c >= 0xFF01 && c < 0xFFF0 || LIGATURES.contains(self)) {
            return Normalizer.normalize(self, Normalizer.Form.NFKC).replace('\u02bc', '\'');
        }
        return straight(c);
    }

    private static String straight(int c) {
        if (c == 0x2BC || c >= 0x2018 && c <= 0x201B) {
            return "'";
        }
        return c >= 0x201C && c <= 0x201F ? "\"" : new String(Character.toChars(c));
    }
}
