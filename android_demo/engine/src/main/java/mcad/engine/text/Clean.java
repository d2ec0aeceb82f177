package mcad.engine.text;

import java.text.Normalizer;
import java.util.Locale;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** open_clip's cleaning of a text, as mcad_mobile/text/clean.py has it: ftfy but for its guess at encodings. */
final class Clean {
    private static final String LIGATURES =
        "\u0132\u0133\u0149\u01f1\u01f2\u01f3\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc\ufb00\ufb01\ufb02"
        + "\ufb03\ufb04\ufb06";
    private static final String WINDOWS_1252 =
        "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d\u017d\u008f"
        + "\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178";
    private static final Pattern WITH_SEMICOLON = Pattern.compile("&#?[0-9A-Za-z]{1,24};");
    private static final Pattern REFERENCE =
        Pattern.compile("&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)");
    private static final Pattern TERMINAL = Pattern.compile("\u001b\\[[\\p{Nd};]*[a-zA-Z]");
    private static final Pattern CONTROLS = Pattern.compile(
        "[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f\\x{206a}-\\x{206f}\\x{feff}\\x{fff9}-\\x{fffc}]");
    private static final Pattern LINE_ENDS = Pattern.compile("\r\n|[\r\\x{2028}\\x{2029}\\x{85}]");

    private Clean() {}

    static String basicClean(String text) {
        String clean = repaired(text);
        if (clean.indexOf('&') >= 0) {
            clean = unescape(unescape(clean));
        }
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

    /** Line by line; once one has shown a "<", entities are left alone. */
    private static String repaired(String text) {
        StringBuilder out = new StringBuilder(text.length());
        boolean entities = true;
        int start = 0;
        while (start < text.length()) {
            int end = text.indexOf('\n', start) + 1;
            String line = text.substring(start, end == 0 ? text.length() : end);
            entities &= line.indexOf('<') < 0;
            out.append(repairedLine(line, entities));
            start += line.length();
        }
        return out.toString();
    }

    private static String repairedLine(String text, boolean entities) {
        String line = text;
        while (true) {
            String before = line;
            if (entities && line.indexOf('&') >= 0) {
                line = replaced(WITH_SEMICOLON, line, match -> entity(match.group()));
            }
            StringBuilder narrow = new StringBuilder(line.length());
            line.codePoints().forEach(c -> narrow.append(narrow(c)));
            line = LINE_ENDS.matcher(narrow).replaceAll("\n");
            line = CONTROLS.matcher(TERMINAL.matcher(line).replaceAll("")).replaceAll("");
            line = Characters.normalized(line, Normalizer.Form.NFC);
            if (line.equals(before)) {
                return line;
            }
        }
    }

    /** C1 controls as Windows reads them, ligatures taken apart, usual widths, straight quotes. */
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

    private static String entity(String found) {
        if (found.startsWith("&#")) {
            String resolved = unescape(found);
            return resolved.indexOf(';') >= 0 ? found : resolved;
        }
        String name = found.substring(1);
        String exact = HtmlEntities.find(name);
        if (exact != null) {
            return exact;
        }
        String small = HtmlEntities.find(name.toLowerCase(Locale.ROOT));
        boolean capitals = name.equals(name.toUpperCase(Locale.ROOT));
        return capitals && small != null && unescape(found).equals(found) ? small.toUpperCase(Locale.ROOT) : found;
    }

    /** Python's html.unescape. */
    static String unescape(String text) {
        return replaced(REFERENCE, text, match -> {
            String name = match.group(1);
            return name.charAt(0) == '#' ? numbered(name.substring(1)) : named(name);
        });
    }

    private static String named(String name) {
        String exact = HtmlEntities.find(name);
        if (exact != null) {
            return exact;
        }
        int[] codes = name.codePoints().toArray();
        for (int end = codes.length - 1; end > 1; end--) {
            String start = new String(codes, 0, end);
            String found = HtmlEntities.find(start);
            if (found != null) {
                return found + name.substring(start.length());
            }
        }
        return "&" + name;
    }

    private static String numbered(String name) {
        boolean hexadecimal = name.charAt(0) == 'x' || name.charAt(0) == 'X';
        int code = 0;
        for (int i = hexadecimal ? 1 : 0; i < name.length() && name.charAt(i) != ';'; i++) {
            int digit = Character.digit(name.charAt(i), hexadecimal ? 16 : 10);
            code = Math.min(code * (hexadecimal ? 16 : 10) + digit, 0x110000);
        }
        if (code == 0 || code >= 0xD800 && code <= 0xDFFF || code > 0x10FFFF) {
            return "\ufffd";
        }
        if (code >= 0x80 && code <= 0x9F) {
            return WINDOWS_1252.substring(code - 0x80, code - 0x7F);
        }
        boolean invalid = code < 9 || code == 0xB || code >= 0xE && code < 0x20 || code == 0x7F
            || code >= 0xFDD0 && code <= 0xFDEF || (code & 0xFFFE) == 0xFFFE;
        return invalid ? "" : new String(Character.toChars(code));
    }

    private static String replaced(Pattern pattern, String text, Function<Matcher, String> with) {
        Matcher matcher = pattern.matcher(text);
        StringBuilder out = new StringBuilder(text.length());
        int at = 0;
        while (matcher.find()) {
            out.append(text, at, matcher.start()).append(with.apply(matcher));
            at = matcher.end();
        }
        return out.append(text, at, text.length()).toString();
    }
}
