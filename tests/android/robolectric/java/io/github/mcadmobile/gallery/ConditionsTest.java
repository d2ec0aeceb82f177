package io.github.mcadmobile.gallery;

import static org.junit.Assert.assertTrue;

import java.util.concurrent.TimeUnit;
import org.junit.Test;

/** The rest of a run on a hot phone. */
public final class ConditionsTest {
    private static final long MS = 50;

    @Test
    public void aThreadThatIsInterruptedRestsAndStaysInterrupted() {
        Conditions conditions = () -> false;
        Thread.currentThread().interrupt();
        long start = System.nanoTime();
        conditions.rest(MS);
        assertTrue(System.nanoTime() - start >= TimeUnit.MILLISECONDS.toNanos(MS));
        assertTrue(Thread.interrupted());
    }
}
