package mcad.gallery;

import mcad.engine.McadException;
import org.jspecify.annotations.Nullable;

/**
 * How far indexing is: now, or when the last run ended.
 *
 * @param running whether a run is on
 * @param resting whether it waits for the phone to cool down
 * @param changing whether searches use the student before an update, until this one has embedded all photos
 * @param done of {@code total} photos; -1 of -1 where they have not been counted yet
 * @param perMinute photos a minute of this run, or as {@link PhotoSearch#estimate} measured it; 0 where it is too early
 *     to tell
 * @param skipped photos that could not be read, of a run that has ended
 * @param rebuilt whether the index was damaged and is built anew
 * @param failure why the last run ended, if it failed; else null
 */
public record Indexing(boolean running, boolean resting, boolean changing, int done, int total, double perMinute,
        int skipped, boolean rebuilt, McadException.@Nullable Kind failure) {
    static final Indexing UNKNOWN = new Indexing(false, false, false, -1, -1, 0, 0, false, null);

    static Indexing started() {
        return new Indexing(true, false, false, -1, -1, 0, 0, false, null);
    }

    /** Whether the photos have been counted. */
    public boolean isCounted() {
        return total >= 0;
    }

    /** Photos that are not indexed yet; 0 while they have not been counted. */
    public int left() {
        return total - done;
    }

    /** Whole minutes until all are indexed, 1 at least; 0 where it is unknown. */
    public int minutesLeft() {
        return perMinute > 0 && left() > 0 ? (int) Math.max(1, Math.round(left() / perMinute)) : 0;
    }

    Indexing at(int nowDone, int nowTotal, double throughput) {
        return new Indexing(true, false, false, nowDone, nowTotal, throughput, 0, rebuilt, null);
    }

    Indexing resting(boolean hot) {
        return new Indexing(running, hot, false, done, total, 0, skipped, rebuilt, failure);
    }

    Indexing changing(boolean now) {
        return new Indexing(running, resting, now, done, total, perMinute, skipped, rebuilt, failure);
    }

    Indexing ended(IndexRun.Outcome outcome, int totalPhotos) {
        return new Indexing(false, false, false, totalPhotos - outcome.left(), totalPhotos, 0,
            outcome.skipped(), outcome.rebuilt(), null);
    }

    Indexing failed(McadException.Kind why) {
        return new Indexing(false, false, false, done, total, 0, skipped, rebuilt, why);
    }

    Indexing paced(double nowPerMinute) {
        return new Indexing(running, resting, changing, done, total, nowPerMinute, skipped, rebuilt, failure);
    }

    Indexing counted(int known, int all) {
        return new Indexing(running, resting, false, known, all, perMinute, skipped, rebuilt, failure);
    }
}
