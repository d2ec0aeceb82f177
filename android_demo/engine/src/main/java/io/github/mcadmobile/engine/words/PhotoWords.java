package io.github.mcadmobile.engine.words;

import java.util.List;

/** The lines that were read in a photo, the names of its place, and whether it was read. */
public record PhotoWords(List<Line> lines, List<String> places, boolean read) {
    public static final PhotoWords NONE = new PhotoWords(List.of(), List.of(), false);

    /**
     * A line of text in a photo.
     *
     * @param box x and y of its four corners, from the start of the text clockwise, in ten-thousandths of the upright
     *     photo's width and height, which an index rounds to 50 of these; empty if unknown
     */
    public record Line(String text, List<Integer> box) {}
}
