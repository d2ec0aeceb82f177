package io.github.mcadmobile.engine.words;

import java.util.List;

/**
 * Words of a photo that a query asks for.
 *
 * @param source where they stand: "text" that was read in the photo, the "name" of its file or folders, or its "place"
 * @param words the words, folded as the index holds them
 * @param line the line of text, the path or the place that they are of
 * @param box for text, where its line is, as {@link PhotoWords.Line#box}; else empty
 */
public record Match(String source, List<String> words, String line, List<Integer> box) {}
