package mcad.engine.gallery;

/**
 * How much a photo has to be like the words to count as a match: the threshold of the student, or so much of a cosine
 * above or below. What each misses and lets through is in docs/benchmarks.md.
 */
public enum Strictness {
    LOOSE(-0.04f), USUAL(0), STRICT(0.04f);

    private final float stricter;

    Strictness(float stricter) {
        this.stricter = stricter;
    }

    float stricter() {
        return stricter;
    }
}
