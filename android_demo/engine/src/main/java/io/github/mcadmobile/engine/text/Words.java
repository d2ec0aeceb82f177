package io.github.mcadmobile.engine.text;

import java.util.ArrayList;
import java.util.List;
import org.json.JSONArray;

/** Steps that split a normalized text into a model's words, named as in mcad_mobile/engine/text/words.py. */
interface Words {
    /** Adds the words of {@code text}, which starts the query if {@code first}. */
    void split(String text, boolean first, List<String> words);

    /** The functions of steps; IllegalArgumentException for an unknown name. */
    static List<Words> of(List<JSONArray> steps) {
        List<Words> all = new ArrayList<>();
        for (JSONArray step : steps) {
            all.add(of(step, (String) step.opt(0)));
        }
        return all;
    }

    private static Words of(JSONArray step, String name) {
        switch (name) {
            case "bert":
                return (text, first, words) -> cut(text, true, words);
            case "spaces":
                return (text, first, words) -> cut(text, false, words);
            case "clip":
                List<String> specials = new ArrayList<>();
                JSONArray words = (JSONArray) step.opt(1);
                for (int i = 0; i < words.length(); i++) {
                    specials.add((String) words.opt(i));
                }
                return new ClipWords(specials, (Boolean) step.opt(2), (Boolean) step.opt(3));
            case "metaspace":
                return metaspace((String) step.opt(1), (String) step.opt(2), (Boolean) step.opt(3));
            default:
                throw new IllegalArgumentException("split " + name);
        }
    }

    /** Splits at white space and, with {@code punctuation}, at punctuation, each mark a word. */
    private static void cut(String text, boolean punctuation, List<String> words) {
        int start = 0;
        for (int i = 0; i <= text.length();) {
            int c = i < text.length() ? text.codePointAt(i) : ' ';
            boolean space = i == text.length() || Characters.isSpace(c);
            boolean mark = !space && punctuation && Characters.isPunctuation(c);
            int next = i + Character.charCount(c);
            if (space || mark) {
                if (start < i) {
                    words.add(text.substring(start, i));
                }
                if (mark) {
                    words.add(text.substring(i, next));
                }
                start = next;
            }
            i = next;
        }
    }

    /** Replaces spaces by SentencePiece's mark, which starts a word. */
    private static Words metaspace(String mark, String prepend, boolean split) {
        return (text, first, words) -> {
            String marked = text.replace(" ", mark);
            boolean wanted = prepend.equals("always") || prepend.equals("first") && first;
            if (wanted && !marked.startsWith(mark)) {
                marked = mark + marked;
            }
            int start = 0;
            while (start < marked.length()) {
                int end = split ? marked.indexOf(mark, start + 1) : -1;
                end = end < 0 ? marked.length() : end;
                words.add(marked.substring(start, end));
                start = end;
            }
        };
    }
}
