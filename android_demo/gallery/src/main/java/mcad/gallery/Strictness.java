package mcad.gallery;

/** Which photos count as matches: those over the student's threshold, or over a cosine above or below it. */
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
