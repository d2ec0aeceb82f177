package mcad.gallery;

/** How much a photo has to be like the words to count as a match: the student's threshold, or a cosine above or below. */
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
