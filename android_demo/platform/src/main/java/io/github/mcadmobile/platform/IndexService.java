package io.github.mcadmobile.platform;

import android.app.Notification;
import android.app.NotificationChannel;
import android.app.NotificationManager;
import android.app.PendingIntent;
import android.app.Service;
import android.content.Context;
import android.content.Intent;
import android.content.pm.ServiceInfo;
import android.graphics.drawable.Icon;
import android.os.Build;
import android.os.IBinder;
import android.os.PowerManager;
import android.os.Process;
import android.os.SystemClock;
import android.util.Log;
import io.github.mcadmobile.gallery.IndexRun;
import io.github.mcadmobile.gallery.Indexing;
import io.github.mcadmobile.gallery.PhotoSearch;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Indexes in the foreground, with a notification, because a first run takes longer than a job may: ten minutes on
 * Android 8 to 11, a quota later. Android 15 allows a service of this type six hours a day; a job indexes what is left
 * then, or when the process is killed.
 */
public final class IndexService extends Service {
    static final String CHANNEL = "photo-search-indexing";
    static final String PAUSE = "io.github.mcadmobile.platform.PAUSE";
    static final String STOP = "io.github.mcadmobile.platform.STOP";

    private static final int NOTIFICATION = 0x6d636101;
    private static final long EVERY_MS = 1000;
    static final long LATER_MS = TimeUnit.MINUTES.toMillis(15);
    /** Longer than any step of a run: if a run hangs, the phone may sleep. */
    private static final long AWAKE_MS = TimeUnit.MINUTES.toMillis(10);
    private static final long RENEW_MS = TimeUnit.MINUTES.toMillis(1);
    /** Lower than the main thread's. From 10 on, Android restricts a thread to the slow cores. */
    private static final int NICE = 5;

    private final Runnable listener = this::showProgress;
    private PhotoSearch search;
    /** Android holds one for a job, but not for a service, so the CPU would sleep with the screen. */
    private PowerManager.WakeLock awake;
    private long renewedMs;
    private long shownMs;
    private int runs;
    /** The ID of the last start, by which Android tells whether another came since. */
    private int last;
    private boolean over;

    static PendingIntent intent(Context context, String action) {
        Intent intent = new Intent(context, IndexService.class).setAction(action);
        return PendingIntent.getService(context, 0, intent, PendingIntent.FLAG_IMMUTABLE);
    }

    @Override
    public void onCreate() {
        super.onCreate();
        search = MediaSearch.of(this);
        NotificationManager notifications = getSystemService(NotificationManager.class);
        notifications.createNotificationChannel(new NotificationChannel(
            CHANNEL, getApplicationInfo().loadLabel(getPackageManager()), NotificationManager.IMPORTANCE_LOW));
        awake = getSystemService(PowerManager.class).newWakeLock(PowerManager.PARTIAL_WAKE_LOCK, "mcad:indexing");
        awake.setReferenceCounted(false);
        awake.acquire(AWAKE_MS);
        search.addListener(listener);
    }

    @Override
    public int onStartCommand(Intent intent, int flags, int start) {
        String action = intent.getAction();
        boolean ends = PAUSE.equals(action) || STOP.equals(action);
        if (ends) {
            new Thread(() -> end(action), "index-end").start();
        } else if (!isForeground()) {
            MediaSearch.indexByJob(this);
            ends = true;
        }
        boolean first;
        synchronized (this) {
            last = start;
            if (ends) {
                if (runs == 0) {
                    stopSelf(start); // otherwise the active run does it
                }
                return START_NOT_STICKY;
            }
            over = false;
            first = runs++ == 0;
        }
        new Thread(() -> run(first), "index-service").start();
        return START_NOT_STICKY;
    }

    private void end(String action) {
        if (PAUSE.equals(action)) {
            MediaSearch.pause(this);
        } else {
            MediaSearch.stop(this);
        }
    }

    /** Enter the foreground. False if Android refuses, for example when the day's hours are used up. */
    private boolean isForeground() {
        try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                startForeground(NOTIFICATION, notification(), ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC);
            } else {
                startForeground(NOTIFICATION, notification());
            }
            return true;
        } catch (IllegalStateException notAllowed) {
            Log.w(MediaSearch.TAG, notAllowed);
            return false;
        }
    }

    private void run(boolean first) {
        Process.setThreadPriority(NICE);
        MediaSearch.begin(this);
        IndexJob.scheduleSoon(this, LATER_MS); // in case the process is killed
        BooleanSupplier wanted = () -> MediaSearch.mayRun(this);
        boolean finished = false;
        boolean failed = false;
        try {
            // The first run replaces a job's, which may be stopped at any time; later ones join it.
            finished = first ? search.indexInstead(wanted).finished()
                : search.index(wanted).map(IndexRun.Outcome::finished).orElse(true);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            Log.w(MediaSearch.TAG, error);
            failed = true;
        }
        synchronized (this) { // a start that comes now must not lose its mark and its job
            if (--runs > 0) {
                return;
            }
            MediaSearch.end(this);
            if (finished) {
                IndexJob.cancelSoon(this);
            } else if (!failed) { // otherwise the job tries again: MediaStore may answer then
                IndexJob.scheduleRest(this);
            }
            if (stopSelfResult(last)) {
                leave();
            }
        }
    }

    /** Show no notification from now on: a late one would stay, with no service to remove it. */
    private synchronized void leave() {
        over = true;
        stopForeground(STOP_FOREGROUND_REMOVE);
    }

    /** From Android 15 on: the day's hours are used up, and the service has seconds to stop. */
    @Override
    public synchronized void onTimeout(int start, int type) {
        search.stopIndexing();
        leave();
        stopSelf(last);
    }

    @Override
    public void onDestroy() {
        search.removeListener(listener);
        leave();
        awake.release();
        synchronized (this) {
            if (runs > 0) {
                search.stopIndexing();
            }
        }
        super.onDestroy();
    }

    @Override
    public IBinder onBind(Intent intent) {
        return null;
    }

    private synchronized void showProgress() {
        if (over) {
            return;
        }
        long now = SystemClock.elapsedRealtime();
        stayAwake(now);
        if (search.isIndexing() && now - shownMs >= EVERY_MS) {
            shownMs = now;
            getSystemService(NotificationManager.class).notify(NOTIFICATION, notification());
        }
    }

    /** Keep the CPU awake, but let the phone sleep while the run waits for it to cool down. */
    private void stayAwake(long now) {
        if (search.indexing().resting()) {
            awake.release();
        } else if (!awake.isHeld() || now - renewedMs >= RENEW_MS) {
            renewedMs = now;
            awake.acquire(AWAKE_MS);
        }
    }

    private Notification notification() {
        Indexing state = search.indexing();
        boolean reads = state.toRead() > 0;
        int done = reads ? state.read() : state.done();
        int total = reads ? state.toRead() : state.total();
        Notification.Builder builder = new Notification.Builder(this, CHANNEL)
            .setSmallIcon(android.R.drawable.stat_notify_sync)
            .setContentTitle(getApplicationInfo().loadLabel(getPackageManager()))
            .setContentText((reads ? "Reading text" : "Indexing photos") + (total >= 0 ? ": " + done + " / " + total : ""))
            .setProgress(Math.max(total, 0), Math.max(done, 0), total < 0)
            .setOngoing(true);
        if (getApplication() instanceof IndexingNotice words) {
            words.word(builder, state);
        } else {
            builder.addAction(new Notification.Action.Builder(
                (Icon) null, getText(android.R.string.cancel), intent(this, STOP)).build());
        }
        return builder.build();
    }
}
