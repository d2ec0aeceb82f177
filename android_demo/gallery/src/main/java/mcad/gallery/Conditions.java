package mcad.gallery;

/** What a run asks of the phone between two photos. */
public interface Conditions {
    /** Whether it is to end. */
    boolean isStopped();

    /**
     * How hot the phone is as Android tells it, from 0 (not at all, or not told) to 6 (it is being shut down): 3 is
     * where it is throttled so much that a user feels it.
     */
    default int heat() {
        return 0;
    }

    /** Wait, in the heat. */
    default void rest(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt(); // whoever did it stops the run, too
        }
    }
}
