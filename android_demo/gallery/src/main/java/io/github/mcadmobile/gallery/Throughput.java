package io.github.mcadmobile.gallery;

import java.util.ArrayDeque;

/** Photos per minute over the last hundred: a run slows down as the phone warms, and the first photo loads a tower. */
final class Throughput {
    private static final int KEPT = 100;
    private static final int FEWEST = 10;
    private static final double MINUTE_NS = 60e9;

    private final ArrayDeque<Long> ends = new ArrayDeque<>();

    /** A photo is done, at {@link System#nanoTime}. */
    void done(long nanoTime) {
        ends.addLast(nanoTime);
        if (ends.size() > KEPT) {
            ends.removeFirst();
        }
    }

    /** Forget the photos before a pause. */
    void rested() {
        ends.clear();
    }

    /** Photos per minute; 0 until there are enough to tell. */
    double perMinute() {
        if (ends.size() < FEWEST || ends.getLast() - ends.getFirst() <= 0) {
            return 0;
        }
        return (ends.size() - 1) * MINUTE_NS / (ends.getLast() - ends.getFirst());
    }
}
