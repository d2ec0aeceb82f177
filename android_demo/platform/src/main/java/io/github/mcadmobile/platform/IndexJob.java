package io.github.mcadmobile.platform;

import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;
import android.os.Process;
import android.util.Log;
import io.github.mcadmobile.gallery.IndexRun;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.Waiting;
import java.io.IOException;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Indexes in the background: at night while the phone charges and is idle, soon after photos come or go, and what a
 * service left undone. Android may stop the job or kill the app: the next run continues after the last batch.
 */
public final class IndexJob extends JobService {
    /** Unlike the IDs of the app's own jobs, which are probably small. */
    private static final int NIGHTLY = 0x6d636101;
    private static final int SOON = 0x6d636102;
    private static final int CHANGES = 0x6d636103;

    private static final long NIGHT_MS = TimeUnit.HOURS.toMillis(12);
    /** Photos come in bursts. */
    private static final long REST_MS = TimeUnit.SECONDS.toMillis(10);
    private static final long MOST_MS = TimeUnit.MINUTES.toMillis(5);

    /** Jobs that Android has stopped. */
    private final Set<Integer> stopped = ConcurrentHashMap.newKeySet();
    /** The threads of jobs that wait for the end of another's run. */
    private final Map<Integer, Thread> waiting = new ConcurrentHashMap<>();

    /** Requires charging and idle: indexing a gallery warms the phone for minutes. */
    static void scheduleNightly(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(NIGHTLY) == null) {
            scheduler.schedule(job(context, NIGHTLY).setPeriodic(NIGHT_MS).setRequiresCharging(true)
                .setRequiresDeviceIdle(true).setPersisted(true).build());
        }
    }

    /** Index the photos that are left as soon as Android allows it, at the earliest in {@code ms}. */
    static void scheduleSoon(Context context, long ms) {
        context.getSystemService(JobScheduler.class).schedule(
            job(context, SOON).setMinimumLatency(ms).setPersisted(true)
                .setRequiresCharging(MediaSearch.isOnlyWhileCharging(context)).build());
    }

    /** Index what a run left: after a pause, and not at all if the user stopped it. */
    static void scheduleRest(Context context) {
        if (MediaSearch.waiting(context) == Waiting.STOPPED) {
            cancelSoon(context);
        } else {
            scheduleSoon(context, MediaSearch.pauseMs(context));
        }
    }

    static void cancelSoon(Context context) {
        context.getSystemService(JobScheduler.class).cancel(SOON);
    }

    /** Run when photos come or go. Android drops this job when the phone is switched off: {@link BootReceiver}. */
    static void scheduleChanges(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(CHANGES) == null) {
            scheduler.schedule(changes(context));
        }
    }

    /** After a boot: follow the photos again if the app did before. */
    static void scheduleAgain(Context context) {
        if (context.getSystemService(JobScheduler.class).getPendingJob(NIGHTLY) != null) {
            scheduleChanges(context);
        }
    }

    /** Apply the user's new choice of conditions to the waiting jobs. */
    static void reschedule(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(CHANGES) != null) {
            scheduler.schedule(changes(context));
        }
        if (scheduler.getPendingJob(SOON) != null) {
            scheduleRest(context);
        }
    }

    private static JobInfo changes(Context context) {
        JobInfo.Builder job = job(context, CHANGES);
        new MediaPhotos(context).collections(MediaPhotos.ALL).forEach(collection -> job.addTriggerContentUri(
            new JobInfo.TriggerContentUri(collection, JobInfo.TriggerContentUri.FLAG_NOTIFY_FOR_DESCENDANTS)));
        return job.setTriggerContentUpdateDelay(REST_MS).setTriggerContentMaxDelay(MOST_MS)
            .setRequiresCharging(MediaSearch.isOnlyWhileCharging(context)).build();
    }

    private static JobInfo.Builder job(Context context, int id) {
        return new JobInfo.Builder(id, new ComponentName(context, IndexJob.class)).setRequiresBatteryNotLow(true);
    }

    @Override
    public boolean onStartJob(JobParameters parameters) {
        stopped.remove(parameters.getJobId());
        new Thread(() -> run(parameters), "index-job").start();
        return true;
    }

    private void run(JobParameters parameters) {
        Process.setThreadPriority(Process.THREAD_PRIORITY_BACKGROUND);
        int id = parameters.getJobId();
        boolean again = index(id, () -> !stopped.contains(id) && MediaSearch.waiting(this) == Waiting.NO);
        if (id == CHANGES && !again) {
            // A trigger fires once. Android passes changes made during this job to the next one.
            getSystemService(JobScheduler.class).schedule(changes(this));
        } else if (id == NIGHTLY) {
            scheduleChanges(this);
        }
        jobFinished(parameters, again);
    }

    /** Run a job; true if it must run again. */
    private boolean index(int id, BooleanSupplier wanted) {
        try {
            if (new MediaPhotos(this).access() == PhotoAccess.State.NONE) {
                return false;
            }
            if (!wanted.getAsBoolean()) {
                return MediaSearch.waiting(this) == Waiting.POWER_SAVER; // Android starts no job when it ends
            }
            PhotoSearch search = MediaSearch.of(this);
            if (id == CHANGES && search.photos() == 0) {
                return false; // a first run is long: left to the user or the nightly job
            }
            Optional<IndexRun.Outcome> outcome = search.index(wanted);
            if (outcome.isPresent()) {
                return !outcome.get().finished();
            }
            if (MediaSearch.isServed(this)) { // the service keeps the process: spare the quota of jobs
                if (id == SOON) {
                    scheduleSoon(this, IndexService.LATER_MS);
                }
                return false;
            }
            // Without a job, Android may freeze the process during a screen's run.
            waiting.put(id, Thread.currentThread());
            return stopped.contains(id) || search.awaitIndexing();
        } catch (IOException | RuntimeException | OutOfMemoryError | InterruptedException error) {
            Log.w(MediaSearch.TAG, error);
            return true; // later each time: MediaStore may answer then
        } finally {
            waiting.remove(id);
        }
    }

    /** Android reclaims resources: the current batch is committed, the rest is left to the next run. */
    @Override
    public boolean onStopJob(JobParameters parameters) {
        stopped.add(parameters.getJobId());
        Thread waits = waiting.get(parameters.getJobId());
        if (waits != null) {
            waits.interrupt();
        }
        return true;
    }
}
