package io.github.mcadmobile.engine;

/**
 * A part of a query: words, or a photo of the index.
 *
 * @param content words, or the photo's path
 * @param isPhoto whether {@code content} is a path
 * @param weight how much the part counts relative to the others; below 0, photos that are less like it score higher
 */
public record QueryPart(String content, boolean isPhoto, float weight) {
    /** IllegalArgumentException: the weight is not a finite number. */
    public QueryPart {
        if (Float.isNaN(weight) || Float.isInfinite(weight)) {
            throw new IllegalArgumentException(weight + " is not a weight. Give a number, as in 0.5 or -1.");
        }
    }

    public static QueryPart words(String words, float weight) {
        return new QueryPart(words, false, weight);
    }

    public static QueryPart photo(String path, float weight) {
        return new QueryPart(path, true, weight);
    }
}
