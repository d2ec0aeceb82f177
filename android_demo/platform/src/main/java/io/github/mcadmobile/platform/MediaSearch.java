package io.github.mcadmobile.platform;

import android.app.PendingIntent;
import android.content.ComponentCallbacks2;
import android.content.ComponentName;
import android.content.Context;
import android.content.Intent;
import android.content.SharedPreferences;
import android.content.res.Configuration;
import android.net.Uri;
import android.os.BatteryManager;
import android.os.PowerManager;
import android.os.Process;
import android.system.ErrnoException;
import android.system.Os;
import android.util.Log;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.Waiting;
import java.io.File;
import java.util.Collections;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * {@link PhotoSearch} over this phone's photos, with the bundle in the app's assets or of a {@link BundleProvider}: one instance per process, shared
 * by screens, service and job, and the settings of when it indexes. Methods that read or write the user's choices
 * block: call only {@link #of}, {@link #open}, {@link #indexNow} and the intents on the main thread.
 */
public final class MediaSearch {
    static final String TAG = "mcad";

    /** Where phones keep Qualcomm's half of an NPU's libraries, searched after the app's. */
    private static final String VENDOR = ";/vendor/lib/rfsa/adsp;/vendor/dsp/cdsp;/system/lib/rfsa/adsp;/dsp";

    private static final String CHARGING = "only-while-charging";
    private static final String UNTIL = "waits-until-ms";
    /** The process ID of a run that the user started. */
    private static final String RUNS = "runs-in-process";
    private static final long PAUSE_MS = TimeUnit.HOURS.toMillis(1);

    private static @Nullable PhotoSearch instance;

    private MediaSearch() {}

    /** The process's search over this phone's photos. Returns at once: files are read when first needed. */
    public static synchronized PhotoSearch of(Context any) {
        if (instance == null) {
            Context context = any.getApplicationContext();
            instance = open(context, new MediaPhotos(context), new AndroidDevice(context));
            instance.onClose(MediaSearch::closed);
        }
        return instance;
    }

    private static synchronized void closed() {
        instance = null;
    }

    /**
     * A search over other photos, such as {@link io.github.mcadmobile.gallery.FolderPhotos}, which need no
     * permission. It has its own index, which the app updates with {@link PhotoSearch#index} or
     * {@link PhotoSearch#indexLater}. Open it once per process.
     *
     * @param name of its folder beside the app's files, unique per search
     */
    public static PhotoSearch open(Context any, String name, PhotoLibrary photos) {
        Context context = any.getApplicationContext();
        return open(context, photos, new AndroidDevice(context, "photo-search-" + name));
    }

    private static PhotoSearch open(Context context, PhotoLibrary photos, AndroidDevice device) {
        String libraries = context.getApplicationInfo().nativeLibraryDir;
        try {
            // ONNX Runtime reports usage to Microsoft unless this is set before it is loaded.
            Os.setenv("ORT_DISABLE_TELEMETRY", "1", true);
            // The NPU's own loader looks here for its half of Qualcomm's runtime.
            Os.setenv("ADSP_LIBRARY_PATH", libraries + VENDOR, true);
        } catch (ErrnoException error) {
            Log.w(TAG, error); // an NPU's rung will fail, and the next is used
        }
        BundleInstaller.Source bundle = context instanceof BundleProvider own
            ? own.bundle() : path -> context.getAssets().open("bundle/" + path);
        PhotoSearch search = PhotoSearch.open(new PhotoSearch.Setup(
            bundle, Collections.singletonList(new File(libraries)), photos, new BitmapDecoder(), device));
        TowerRelease release = new TowerRelease(search);
        context.registerComponentCallbacks(release);
        search.onClose(() -> context.unregisterComponentCallbacks(release));
        return search;
    }

    /** The content URI of a found photo. */
    public static Uri uri(SearchEngine.Result result) {
        return Uri.parse(MediaPath.uri(result.path()));
    }

    /** Frees the text tower when the app is in the background and others need memory. */
    private record TowerRelease(PhotoSearch search) implements ComponentCallbacks2 {
        @Override
        public void onTrimMemory(int level) {
            if (level >= TRIM_MEMORY_BACKGROUND) {
                search.release();
            }
        }

        @Override
        public void onConfigurationChanged(Configuration now) {}

        @Override
        public void onLowMemory() {
            search.release();
        }
    }

    /**
     * Index now, in a foreground service; call it from a visible screen. It ends a pause, but waits for a charger if
     * the user chose so. If the service is indexing already, that run makes another pass; a run of a job or of the app
     * is stopped and replaced. If Android allows no service, a job indexes as soon as it may. IllegalStateException if
     * the app was built without the service.
     */
    public static void indexNow(Context context) {
        ComponentName service;
        try {
            service = context.startForegroundService(new Intent(context, IndexService.class));
        } catch (IllegalStateException notAllowed) {
            Log.w(TAG, notAllowed);
            indexByJob(context);
            return;
        }
        if (service == null) {
            throw new IllegalStateException("The app's manifest declares no IndexService, as in a library for an"
                + " app's own photos. Call index() or indexLater() of the search that open() returned.");
        }
    }

    /** Android allows no service: end any pause, and let a job index. */
    static void indexByJob(Context context) {
        new Thread(() -> {
            choices(context).edit().putLong(UNTIL, 0).apply();
            IndexJob.scheduleSoon(context, 0);
        }, "index-later").start();
    }

    /** Stop an active run, and index nothing for an hour. */
    public static void pause(Context context) {
        waitUntil(context, System.currentTimeMillis() + PAUSE_MS);
    }

    /** Stop an active run, and index nothing until {@link #indexNow}. */
    public static void stop(Context context) {
        waitUntil(context, Long.MAX_VALUE);
    }

    private static void waitUntil(Context context, long ms) {
        choices(context).edit().putLong(UNTIL, ms).apply();
        of(context).stopIndexing();
        IndexJob.scheduleRest(context);
    }

    /** For a button of a notification: {@link #pause}. */
    public static PendingIntent pauseIntent(Context context) {
        return IndexService.intent(context, IndexService.PAUSE);
    }

    /** For a button of a notification: {@link #stop}. */
    public static PendingIntent stopIntent(Context context) {
        return IndexService.intent(context, IndexService.STOP);
    }

    /** Keep the index up to date while the app is not in use. */
    public static void keepUpToDate(Context context) {
        IndexJob.scheduleNightly(context);
        IndexJob.scheduleChanges(context);
    }

    /** Choose whether to index only while the phone charges. */
    public static void onlyWhileCharging(Context context, boolean only) {
        choices(context).edit().putBoolean(CHARGING, only).apply();
        IndexJob.reschedule(context);
    }

    public static boolean isOnlyWhileCharging(Context context) {
        return choices(context).getBoolean(CHARGING, false);
    }

    /** Why new and deleted photos are not indexed now; NO if they are. */
    public static Waiting waiting(Context context) {
        noticeEnd(context);
        long untilMs = choices(context).getLong(UNTIL, 0);
        if (untilMs > System.currentTimeMillis()) {
            return untilMs == Long.MAX_VALUE ? Waiting.STOPPED : Waiting.PAUSED;
        }
        if (context.getSystemService(BatteryManager.class).isCharging()) {
            return Waiting.NO;
        }
        if (isOnlyWhileCharging(context)) {
            return Waiting.CHARGER;
        }
        return context.getSystemService(PowerManager.class).isPowerSaveMode() ? Waiting.POWER_SAVER : Waiting.NO;
    }

    /** Whether a run that the user started may go on; it ignores power saving. */
    static boolean mayRun(Context context) {
        Waiting waiting = waiting(context);
        return waiting == Waiting.NO || waiting == Waiting.POWER_SAVER;
    }

    /** The rest of a pause in ms; 0 without one. */
    static long pauseMs(Context context) {
        return Math.max(0, choices(context).getLong(UNTIL, 0) - System.currentTimeMillis());
    }

    /** The user started a run: end any pause. */
    static void begin(Context context) {
        choices(context).edit().putLong(UNTIL, 0).putInt(RUNS, Process.myPid()).apply();
    }

    /** Whether a run that the user started is active in this process. */
    static boolean isServed(Context context) {
        return choices(context).getInt(RUNS, -1) == Process.myPid();
    }

    static void end(Context context) {
        choices(context).edit().remove(RUNS).apply();
    }

    /** If the user ended the process during a run, treat the run as stopped. */
    private static void noticeEnd(Context context) {
        int process = choices(context).getInt(RUNS, 0);
        if (process != 0 && process != Process.myPid()) {
            end(context);
            if (new AndroidDevice(context).isEndedByUser(process)) {
                stop(context);
            }
        }
    }

    private static SharedPreferences choices(Context context) {
        return context.getSharedPreferences("photo-search", Context.MODE_PRIVATE);
    }
}
