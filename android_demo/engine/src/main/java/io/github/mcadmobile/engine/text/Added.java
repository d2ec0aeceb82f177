package io.github.mcadmobile.engine.text;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Tokens matched in a text before it is split into words: leftmost first, then longest. */
final class Added {
    /** A token, and whether its match includes the space on its left and right. */
    record Token(String name, int id, boolean left, boolean right) {}

    /** A token's id (text is null) or the text between two tokens, and where it starts. */
    record Part(int start, int id, String text) {}

    private final Map<String, Token> tokens = new HashMap<>();
    private final Pattern any;

    Added(List<Token> added) {
        List<String> names = new ArrayList<>();
        for (Token token : added) {
            if (!token.name().isEmpty()) {
                tokens.put(token.name(), token);
                names.add(token.name());
            }
        }
        names.sort((a, b) -> Integer.compare(b.length(), a.length()));
        StringBuilder pattern = new StringBuilder();
        for (String name : names) {
            pattern.append(pattern.length() == 0 ? "" : "|").append(Pattern.quote(name));
        }
        any = names.isEmpty() ? null : Pattern.compile(pattern.toString());
    }

    List<Part> split(String text) {
        List<Part> parts = new ArrayList<>();
        int at = 0;
        Matcher matcher = any == null ? null : any.matcher(text);
        while (matcher != null && matcher.find()) {
            Token token = tokens.get(matcher.group());
            int start = matcher.start();
            int end = matcher.end();
            if (token.left()) {
                start = Math.max(at, Characters.trimmed(text.substring(0, start), false, true).length());
            }
            if (token.right()) {
                end = text.length() - Characters.trimmed(text.substring(end), true, false).length();
            }
            if (at < start) {
                parts.add(new Part(at, Model.NONE, text.substring(at, start)));
            }
            parts.add(new Part(start, token.id(), null));
            at = end;
        }
        if (at < text.length()) {
            parts.add(new Part(at, Model.NONE, text.substring(at)));
        }
        return parts;
    }
}
