package mcad.platform;

import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;
import android.provider.MediaStore;
import android.util.Log;
import java.io.IOException;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import mcad.gallery.IndexRun;
import mcad.gallery.PhotoAccess;
import mcad.gallery.PhotoSearch;

/**
 * Indexes in the background: at night while the phone charges and rests, soon after photos came or went, and what a
 * service had to leave. Android may stop it, or kill the app: the next run goes on behind the last batch.
 */
public final class IndexJob extends JobService {
    /** The app has jobs of its own, with small numbers most likely. */
    private static final int NIGHTLY = 0x6d636101;
    private static final int SOON = 0x6d636102;
    /** Two: to schedule a job anew while it runs ends it, and a trigger serves once. */
    private static final int[] CHANGES = {0x6d636103, 0x6d636104};

    private static final int NONE = 0;

    private static final long NIGHT_MS = TimeUnit.HOURS.toMillis(12);
    /** Photos come in bursts. */
    private static final long REST_MS = TimeUnit.SECONDS.toMillis(10);
    private static final long MOST_MS = TimeUnit.MINUTES.toMillis(5);

    /** The job whose run is on: no other ends it. */
    private int runs = NONE;

    /** Charging and idle: indexing a gallery takes minutes of a warm phone. */
    static void scheduleNightly(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(NIGHTLY) == null) {
            scheduler.schedule(job(context, NIGHTLY).setPeriodic(NIGHT_MS).setRequiresCharging(true)
                .setRequiresDeviceIdle(true).setPersisted(true).build());
        }
    }

    /** What is left, when Android lets it, from {@code ms} from now on. */
    static void scheduleSoon(Context context, long ms) {
        context.getSystemService(JobScheduler.class).schedule(
            job(context, SOON).setMinimumLatency(ms).setPersisted(true)
                .setRequiresCharging(MediaSearch.isOnlyWhileCharging(context)).build());
    }

    static void cancelSoon(Context context) {
        context.getSystemService(JobScheduler.class).cancel(SOON);
    }

    /** When photos have come or gone. Android forgets it when the phone is switched off. */
    static void scheduleChanges(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(CHANGES[0]) == null && scheduler.getPendingJob(CHANGES[1]) == null) {
            scheduler.schedule(changes(context, CHANGES[0]));
        }
    }

    /** The user has chosen when: what waits, waits for that. */
    static void reschedule(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        scheduler.cancel(CHANGES[1]);
        scheduler.schedule(changes(context, CHANGES[0]));
        if (scheduler.getPendingJob(SOON) != null) {
            scheduleSoon(context, 0);
        }
    }

    private static JobInfo changes(Context context, int id) {
        return job(context, id).addTriggerContentUri(new JobInfo.TriggerContentUri(
                MediaStore.Images.Media.EXTERNAL_CONTENT_URI, JobInfo.TriggerContentUri.FLAG_NOTIFY_FOR_DESCENDANTS))
            .setTriggerContentUpdateDelay(REST_MS).setTriggerContentMaxDelay(MOST_MS)
            .setRequiresCharging(MediaSearch.isOnlyWhileCharging(context)).build();
    }

    private static JobInfo.Builder job(Context context, int id) {
        return new JobInfo.Builder(id, new ComponentName(context, IndexJob.class));
    }

    @Override
    public boolean onStartJob(JobParameters parameters) {
        int id = parameters.getJobId();
        if (id == CHANGES[0] || id == CHANGES[1]) {
            // Now, so that nothing that changes while this one runs is missed.
            int next = id == CHANGES[0] ? CHANGES[1] : CHANGES[0];
            getSystemService(JobScheduler.class).schedule(changes(this, next));
        } else if (id == NIGHTLY) {
            scheduleChanges(this);
        }
        if (new MediaPhotos(this).access() == PhotoAccess.State.NONE) {
            return false;
        }
        PhotoSearch search = MediaSearch.of(this);
        new Thread(() -> jobFinished(parameters, run(search, id)), "index-job").start();
        return true;
    }

    /** Whether it has to run again. */
    private boolean run(PhotoSearch search, int id) {
        try {
            begin(id);
            Optional<IndexRun.Outcome> outcome = search.index();
            end(id);
            if (outcome.isPresent()) {
                return !outcome.get().finished();
            }
            // Another's is on, a screen's maybe, that may be left: without a job Android would freeze the process over it.
            return search.awaitIndexing();
        } catch (IOException | RuntimeException | OutOfMemoryError | InterruptedException error) {
            end(id);
            Log.w(MediaSearch.TAG, error);
        }
        return false;
    }

    private synchronized void begin(int id) {
        runs = runs == NONE ? id : runs;
    }

    private synchronized void end(int id) {
        runs = runs == id ? NONE : runs;
    }

    /** Android takes the resources back: what is in the batch at hand is committed, the rest comes next time. */
    @Override
    public synchronized boolean onStopJob(JobParameters parameters) {
        if (runs == parameters.getJobId()) {
            MediaSearch.of(this).stopIndexing();
        }
        return true;
    }
}
