package mcad.gallery;

/** Conditions that a run checks between two photos. */
public interface Conditions {
    /** Whether it is to end. */
    boolean isStopped();

    /**
     * Android's thermal status, from 0 (none, or unknown) to 6 (shutdown): from 3 on the phone is throttled so much
     * that a user feels it.
     */
    default int heat() {
        return 0;
    }

    /** Wait, in the heat. */
    default void rest(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt(); // the caller that interrupts also stops the run
        }
    }
}
