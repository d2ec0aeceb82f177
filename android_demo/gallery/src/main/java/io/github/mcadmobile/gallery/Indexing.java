package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import org.jspecify.annotations.Nullable;

/**
 * The progress of indexing: now, or at the end of the last run.
 *
 * @param running whether a run is active
 * @param resting whether the run waits for the phone to cool down
 * @param changing whether searches still use the previous student after an update, until the new one has embedded all
 *     photos
 * @param done photos indexed, of {@code total}; both are -1 until counted
 * @param perMinute photos per minute in this run, or as measured by {@link PhotoSearch#estimate}; 0 if unknown
 * @param skipped photos that could not be read in the last run
 * @param rebuilt whether the last run found the index damaged and built it anew
 * @param failure why the last run failed; null if it did not
 * @param read photos whose text this run has read, of {@code toRead}, which it reads after all are embedded; after a run,
 *     0 of those that it left
 */
public record Indexing(boolean running, boolean resting, boolean changing, int done, int total, double perMinute,
        int skipped, boolean rebuilt, McadException.@Nullable Kind failure, int read, int toRead) {
    static final Indexing UNKNOWN = new Indexing(false, false, false, -1, -1, 0, 0, false, null);

    /** Without text to read. */
    public Indexing(boolean running, boolean resting, boolean changing, int done, int total, double perMinute,
            int skipped, boolean rebuilt, McadException.@Nullable Kind failure) {
        this(running, resting, changing, done, total, perMinute, skipped, rebuilt, failure, 0, 0);
    }

    static Indexing started() {
        return new Indexing(true, false, false, -1, -1, 0, 0, false, null);
    }

    /** Whether the photos have been counted. */
    public boolean isCounted() {
        return total >= 0;
    }

    /** Photos that are not indexed yet; 0 until they are counted. */
    public int left() {
        return total - done;
    }

    /** Photos whose text is not read yet, as far as this run or the last one knows. */
    public int unread() {
        return toRead - read;
    }

    /** Minutes until all photos are indexed, or if they are, until their text is read; at least 1; 0 if unknown. */
    public int minutesLeft() {
        int photos = left() > 0 ? left() : unread();
        return perMinute > 0 && photos > 0 ? (int) Math.max(1, Math.round(photos / perMinute)) : 0;
    }

    Indexing at(int nowDone, int nowTotal, double throughput) {
        return new Indexing(true, false, false, nowDone, nowTotal, throughput, 0, false, null);
    }

    Indexing reading(int nowRead, int nowToRead, double throughput) {
        return new Indexing(true, false, false, done, total, throughput, 0, false, null, nowRead, nowToRead);
    }

    Indexing resting(boolean hot) {
        return new Indexing(running, hot, false, done, total, 0, skipped, rebuilt, failure, read, toRead);
    }

    Indexing changing(boolean now) {
        return new Indexing(running, resting, now, done, total, perMinute, skipped, rebuilt, failure, read, toRead);
    }

    Indexing ended(IndexRun.Outcome outcome, int totalPhotos) {
        return new Indexing(false, false, false, totalPhotos - outcome.left(), totalPhotos, 0,
            outcome.skipped(), outcome.rebuilt(), null, 0, outcome.unread());
    }

    Indexing failed(McadException.Kind why) {
        return new Indexing(false, false, false, done, total, 0, skipped, rebuilt, why, 0, unread());
    }

    Indexing paced(double nowPerMinute) {
        return new Indexing(running, resting, changing, done, total, nowPerMinute, skipped, rebuilt, failure, read, toRead);
    }

    Indexing counted(int known, int all, int unreadable) {
        return new Indexing(running, resting, false, known, all, perMinute, unreadable, rebuilt, failure, read, toRead);
    }
}
