package io.github.mcadmobile.engine.words;

import java.util.List;

/**
 * A photo that has words of a query. {@code share} of its terms, 0 to 1, match: each counts by its inverse document
 * frequency, and less if it is only begun or misread. {@code cosine}: with the embedding that it was to be near, if there was one.
 */
public record WordHit(String path, double share, float cosine, List<Match> matches) {}
