package io.github.mcadmobile.engine.text;

import java.text.Normalizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.IntPredicate;
import java.util.function.UnaryOperator;
import org.json.JSONArray;

/** Normalization steps, named as in mcad_mobile/engine/text/normalize.py. */
final class Normalize {
    private Normalize() {}

    /** The functions of steps; IllegalArgumentException for an unknown name. */
    static List<UnaryOperator<String>> of(List<JSONArray> steps, Table table) {
        List<UnaryOperator<String>> all = new ArrayList<>();
        for (JSONArray step : steps) {
            all.add(of(step, (String) step.opt(0), table));
        }
        return all;
    }

    static String apply(List<UnaryOperator<String>> steps, String text) {
        String result = text;
        for (UnaryOperator<String> step : steps) {
            result = step.apply(result);
        }
        return result;
    }

    private static UnaryOperator<String> of(JSONArray step, String name, Table table) {
        switch (name) {
            case "basic_clean":
                return Clean::basicClean;
            case "lower":
                return Characters::lower;
            case "lower_text":
                return text -> text.toLowerCase(Locale.ROOT);
            case "join_words":
                return text -> joined(text, Characters::isWordBreak, " ", true);
            case "join_spaces":
                String space = (String) step.opt(1);
                return text -> joined(text, Characters::isSpace, space, false);
            case "join_blanks":
                String blank = (String) step.opt(1);
                return text -> text.replaceAll(" {2,}", blank);
            case "strip":
                boolean left = (Boolean) step.opt(1);
                boolean right = (Boolean) step.opt(2);
                return text -> Characters.trimmed(text, left, right);
            case "replace":
                String old = (String) step.opt(1);
                String with = (String) step.opt(2);
                return text -> text.replace(old, with);
            case "trim_end":
                String mark = (String) step.opt(1);
                return text -> withoutEnd(text, mark);
            case "prepend":
                String start = (String) step.opt(1);
                return text -> text.isEmpty() ? text : start + text;
            case "remove":
                String unwanted = (String) step.opt(1);
                return text -> kept(text, c -> unwanted.indexOf(c) < 0);
            case "form":
                Normalizer.Form form = Normalizer.Form.valueOf((String) step.opt(1));
                return text -> Characters.normalized(text, form);
            case "strip_marks":
                return text -> kept(Characters.normalized(text, Normalizer.Form.NFD),
                    c -> !Characters.isNonspacingMark(c));
            case "drop_marks":
                return text -> kept(text, c -> !Characters.isMark(c));
            case "bert_clean":
                return Normalize::bertClean;
            case "space_ideographs":
                return Normalize::spaceIdeographs;
            case "charsmap":
                return new Charsmap(table, (String) step.opt(1));
            default:
                throw new IllegalArgumentException("step " + name);
        }
    }

    private static String kept(String text, IntPredicate wanted) {
        StringBuilder out = new StringBuilder(text.length());
        text.codePoints().filter(wanted).forEach(out::appendCodePoint);
        return out.toString();
    }

    /** Replaces each run of spaces; with {@code trim}, removes those at the ends. */
    private static String joined(String text, IntPredicate isSpace, String with, boolean trim) {
        StringBuilder out = new StringBuilder(text.length());
        boolean after = false;
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (isSpace.test(c)) {
                after = true;
                continue;
            }
            if (after && !(trim && out.length() == 0)) {
                out.append(with);
            }
            after = false;
            out.append(c);
        }
        return after && !trim ? out.append(with).toString() : out.toString();
    }

    private static String withoutEnd(String text, String mark) {
        int end = text.length();
        while (end > 0 && mark.indexOf(text.charAt(end - 1)) >= 0) {
            end--;
        }
        return text.substring(0, end);
    }

    private static String bertClean(String text) {
        StringBuilder out = new StringBuilder(text.length());
        text.codePoints().filter(c -> c != 0 && c != 0xFFFD && !Characters.isControl(c)).forEach(
            c -> out.appendCodePoint(Characters.isSpace(c) ? ' ' : c));
        return out.toString();
    }

    private static String spaceIdeographs(String text) {
        StringBuilder out = new StringBuilder(text.length());
        text.codePoints().forEach(c -> {
            if (Characters.isIdeograph(c)) {
                out.append(' ').appendCodePoint(c).append(' ');
            } else {
                out.appendCodePoint(c);
            }
        });
        return out.toString();
    }
}
