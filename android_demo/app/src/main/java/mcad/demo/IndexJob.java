package mcad.demo;

import android.app.Notification;
import android.app.NotificationChannel;
import android.app.NotificationManager;
import android.app.PendingIntent;
import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.app.job.JobService;
import android.content.ComponentName;
import android.content.Context;
import android.content.Intent;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.gallery.IndexRun;
import mcad.engine.gallery.PhotoAccess;
import mcad.platform.BitmapDecoder;

/**
 * Indexes photos in the background: every night while the phone charges and rests, or once at the user's word. Android
 * may stop it, or kill the app: the next run goes on behind the last batch.
 */
public final class IndexJob extends JobService {
    private static final int NIGHTLY = 1;
    private static final int NOW = 2;
    private static final int NOTIFICATION = 1;
    private static final String CHANNEL = "indexing";
    private static final long NIGHT_MS = TimeUnit.HOURS.toMillis(12);

    private static final long STALE_MS = TimeUnit.MINUTES.toMillis(2);

    private volatile boolean stopped;

    /** Charging and idle: indexing a gallery takes minutes of a warm phone. */
    static void scheduleNightly(Context context) {
        JobScheduler scheduler = context.getSystemService(JobScheduler.class);
        if (scheduler.getPendingJob(NIGHTLY) == null) {
            scheduler.schedule(job(context, NIGHTLY).setPeriodic(NIGHT_MS).setRequiresCharging(true)
                .setRequiresDeviceIdle(true).setPersisted(true).build());
        }
    }

    /** As soon as Android lets it. */
    static void scheduleNow(Context context) {
        context.getSystemService(JobScheduler.class).schedule(job(context, NOW).setOverrideDeadline(0).build());
    }

    private static JobInfo.Builder job(Context context, int id) {
        return new JobInfo.Builder(id, new ComponentName(context, IndexJob.class));
    }

    @Override
    public boolean onStartJob(JobParameters parameters) {
        DemoEngine demo = DemoEngine.of(this);
        if (demo.progress().running() || new Gallery(this).access() == PhotoAccess.State.NONE) {
            return false;
        }
        stopped = false;
        demo.report(DemoEngine.Progress.running(0, 0), false);
        new Thread(() -> {
            boolean again = run(demo);
            jobFinished(parameters, again);
        }, "index").start();
        return true;
    }

    /** Android takes the resources back: what is in the batch at hand is committed, the rest comes next time. */
    @Override
    public boolean onStopJob(JobParameters parameters) {
        stopped = true;
        return true;
    }

    /** Whether it has to run again. */
    private boolean run(DemoEngine demo) {
        NotificationManager notifications = getSystemService(NotificationManager.class);
        notifications.createNotificationChannel(
            new NotificationChannel(CHANNEL, getString(R.string.channel), NotificationManager.IMPORTANCE_LOW));
        int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
        McadException.Kind failure = null;
        IndexRun.Outcome outcome = null;
        try (SearchEngine engine = demo.newEngine(threads)) {
            IndexRun run = new IndexRun(
                demo.indexDirectory(), engine, new BitmapDecoder(), new Gallery(this), demo.numbers);
            demo.imageTowerLoaded(engine.imageTower());
            outcome = run.run(() -> stopped, new Told(demo, notifications));
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            failure = Failures.log(error);
        }
        notifications.cancel(NOTIFICATION);
        boolean finished = outcome != null && outcome.finished();
        int skipped = outcome == null ? 0 : outcome.skipped();
        demo.report(new DemoEngine.Progress(false, 0, 0, finished, skipped, failure), true);
        return outcome != null && !finished;
    }

    /** Tells the screen and the notification, not so often that it costs. */
    private final class Told implements IndexRun.Progress {
        private static final int EVERY = 8;

        private final DemoEngine demo;
        private final NotificationManager notifications;

        Told(DemoEngine demo, NotificationManager notifications) {
            this.demo = demo;
            this.notifications = notifications;
        }

        @Override
        public void done(int done, int total) {
            if (done % EVERY == 0) {
                demo.report(DemoEngine.Progress.running(done, total), false);
                notifications.notify(NOTIFICATION, notification(done, total));
            }
        }

        @Override
        public void committed(int photos) {
            demo.report(demo.progress(), true);
        }
    }

    private Notification notification(int done, int total) {
        // Back to the search that is there, from whichever screen lies over it.
        Intent open = new Intent(this, SearchActivity.class).addFlags(Intent.FLAG_ACTIVITY_CLEAR_TOP);
        return new Notification.Builder(this, CHANNEL)
            .setSmallIcon(R.drawable.ic_notification)
            .setContentTitle(getString(R.string.indexing))
            .setContentText(getString(R.string.indexing_progress, done, total))
            .setProgress(total, done, false)
            .setOngoing(true)
            .setTimeoutAfter(STALE_MS) // nobody takes it away when the app is killed
            .setContentIntent(PendingIntent.getActivity(this, 0, open, PendingIntent.FLAG_IMMUTABLE))
            .build();
    }
}
