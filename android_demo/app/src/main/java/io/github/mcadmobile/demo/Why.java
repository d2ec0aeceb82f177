package io.github.mcadmobile.demo;

import android.os.Bundle;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.Match;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * Why a photo was found: the lines, names and places that have words of the query.
 *
 * @param text a line each; empty if it was found by what it shows
 * @param boxes of the lines in the photo, as {@link Match#box}
 */
record Why(String text, List<int[]> boxes) {
    private static final Why CONTENT = new Why("", List.of());
    /** What does not show itself, but changes what is beside it. */
    private static final String UNSEEN = "[\\p{Cc}\u200e\u200f\u202a-\u202e\u2066-\u2069]+";
    private static final String SUFFIX = "\\.\\w{1,5}$";
    private static final String LINES = "#lines";

    static Why of(SearchEngine.Result result) {
        List<String> lines = new ArrayList<>();
        List<int[]> boxes = new ArrayList<>();
        for (Match match : result.matched()) {
            String line = clean(match.source().equals("name") ? name(match) : match.line());
            if (!lines.contains(line)) {
                lines.add(line);
            }
            if (!match.box().isEmpty()) {
                boxes.add(match.box().stream().mapToInt(Integer::intValue).toArray());
            }
        }
        return lines.isEmpty() ? CONTENT : new Why(String.join("\n", lines), boxes);
    }

    /** The file's name, or with its folders if those have the words; without a suffix. */
    private static String name(Match match) {
        String file = match.line().substring(match.line().lastIndexOf('/') + 1);
        boolean ofFile = !Collections.disjoint(Folding.fold(file), match.words());
        return (ofFile ? file : match.line()).replaceFirst(SUFFIX, "");
    }

    /** Text that was read, or a name, as it is shown. */
    static String clean(String text) {
        return text.replaceAll(UNSEEN, " ").trim();
    }

    /** Of one of the photos that {@link #save} kept. */
    static Why of(Bundle all, String path) {
        String text = all == null ? null : all.getString(path);
        if (text == null) {
            return CONTENT;
        }
        List<int[]> boxes = new ArrayList<>();
        int[] flat = all.getIntArray(path + LINES);
        for (int at = 0; at < flat.length; at += 8) {
            boxes.add(Arrays.copyOfRange(flat, at, at + 8));
        }
        return new Why(text, boxes);
    }

    void save(Bundle all, String path) {
        if (!text.isEmpty()) {
            all.putString(path, text);
            all.putIntArray(path + LINES, boxes.stream().flatMapToInt(Arrays::stream).toArray());
        }
    }
}
