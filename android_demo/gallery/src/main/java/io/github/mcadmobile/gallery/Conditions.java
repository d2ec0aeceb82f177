package io.github.mcadmobile.gallery;

/** Conditions that a run checks between two photos. */
public interface Conditions {
    /** Whether the run should stop; once true, it stays true. */
    boolean isStopped();

    /** Android's thermal status, from 0 (none, or unknown) to 6 (shutdown): from 3 on, throttling is noticeable. */
    default int heat() {
        return 0;
    }

    /** Wait while the phone cools down. */
    default void rest(long ms) {
        boolean interrupted = Thread.interrupted(); // else each later sleep would end at once
        try {
            Thread.sleep(ms);
        } catch (InterruptedException now) {
            interrupted = true;
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
