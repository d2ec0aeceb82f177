package mcad.gallery;

import java.util.ArrayDeque;

/** Photos a minute, of the last hundred: a run slows down when the phone warms, and the first photo loads a tower. */
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

    /** Forget the photos before a rest. */
    void rested() {
        ends.clear();
    }

    /** 0 while it is too early to tell. */
    double perMinute() {
        if (ends.size() < FEWEST || ends.getLast() - ends.getFirst() <= 0) {
            return 0;
        }
        return (ends.size() - 1) * MINUTE_NS / (ends.getLast() - ends.getFirst());
    }
}
