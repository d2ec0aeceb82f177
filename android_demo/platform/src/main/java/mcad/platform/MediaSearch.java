package mcad.platform;

import android.app.PendingIntent;
import android.content.ComponentCallbacks2;
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
import java.io.File;
import java.util.Collections;
import java.util.concurrent.TimeUnit;
import mcad.engine.SearchEngine;
import mcad.gallery.MediaPath;
import mcad.gallery.PhotoLibrary;
import mcad.gallery.PhotoSearch;
import mcad.gallery.Waiting;
import org.jspecify.annotations.Nullable;

/**
 * {@link PhotoSearch} over the photos of this phone, with the bundle in the app's assets: the one object of the
 * process, which screens, service and job share; and when it indexes. Methods that read or write the user's choices are
 * not for the screen's thread: all but {@link #of}, {@link #open}, {@link #indexNow} and the intents.
 */
public final class MediaSearch {
    static final String TAG = "mcad";

    /** Where phones have Qualcomm's half of an NPU's libraries, behind what the app brings. */
    private static final String VENDOR = ";/vendor/lib/rfsa/adsp;/vendor/dsp/cdsp;/system/lib/rfsa/adsp;/dsp";

    private static final String CHARGING = "only-while-charging";
    private static final String UNTIL = "waits-until-ms";
    /** The process of a run that the user asked for. */
    private static final String RUNS = "runs-in-process";
    private static final long PAUSE_MS = TimeUnit.HOURS.toMillis(1);

    private static @Nullable PhotoSearch instance;

    private MediaSearch() {}

    /** Nothing is read or loaded before it is needed. */
    public static synchronized PhotoSearch of(Context any) {
        if (instance == null) {
            Context context = any.getApplicationContext();
            instance = open(context, new MediaPhotos(context), new AndroidDevice(context));
        }
        return instance;
    }

    /**
     * A search over other photos, {@link mcad.gallery.FolderPhotos} say, which needs no permission; its own index,
     * which the app updates by {@link PhotoSearch#index} or {@link PhotoSearch#indexLater}. To be opened once for a
     * process.
     *
     * @param name what its folder beside the app's files is called: another one for each
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
            // Where the NPU's own loader looks for its half of Qualcomm's runtime.
            Os.setenv("ADSP_LIBRARY_PATH", libraries + VENDOR, true);
        } catch (ErrnoException error) {
            Log.w(TAG, error); // an NPU's rung will not load, and the next is taken
        }
        PhotoSearch search = PhotoSearch.open(new PhotoSearch.Setup(path -> context.getAssets().open("bundle/" + path),
            Collections.singletonList(new File(libraries)), photos, new BitmapDecoder(), device));
        context.registerComponentCallbacks(new TowerRelease(search));
        return search;
    }

    /** A photo of this phone that was found, as Android knows it. */
    public static Uri uri(SearchEngine.Result result) {
        return Uri.parse(MediaPath.uri(result.path()));
    }

    /** Gives the text tower back when the app is in the background and others need memory. */
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
     * Index now, in a service that the user sees: to be called from a screen that is visible. It ends a pause; without
     * a charger it waits if the user chose so. A run that is on goes over the photos once more. Where Android lets no
     * service start, a job does it as soon as it may.
     */
    public static void indexNow(Context context) {
        try {
            context.startForegroundService(new Intent(context, IndexService.class));
        } catch (IllegalStateException notAllowed) {
            Log.w(TAG, notAllowed);
            IndexJob.scheduleSoon(context, 0);
        }
    }

    /** End a run that is on, and index nothing for an hour. */
    public static void pause(Context context) {
        waitUntil(context, System.currentTimeMillis() + PAUSE_MS);
    }

    /** End a run that is on, and index nothing until {@link #indexNow}. */
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

    /** Have the index follow the photos while the app is not used. */
    public static void keepUpToDate(Context context) {
        IndexJob.scheduleNightly(context);
        IndexJob.scheduleChanges(context);
    }

    /** Index only while the phone charges, from now on. */
    public static void onlyWhileCharging(Context context, boolean only) {
        choices(context).edit().putBoolean(CHARGING, only).apply();
        IndexJob.reschedule(context);
    }

    public static boolean isOnlyWhileCharging(Context context) {
        return choices(context).getBoolean(CHARGING, false);
    }

    /** Why what comes and goes is not indexed now, if it is not. */
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

    /** The same of a run that the user asked for: it does not save power. */
    static boolean mayRun(Context context) {
        Waiting waiting = waiting(context);
        return waiting == Waiting.NO || waiting == Waiting.POWER_SAVER;
    }

    /** How long a pause lasts from now on, in ms; 0 without one. */
    static long pauseMs(Context context) {
        return Math.max(0, choices(context).getLong(UNTIL, 0) - System.currentTimeMillis());
    }

    /** The user wants a run. */
    static void begin(Context context) {
        choices(context).edit().putLong(UNTIL, 0).putInt(RUNS, Process.myPid()).apply();
    }

    static void end(Context context) {
        choices(context).edit().putInt(RUNS, 0).apply();
    }

    /** A user who ended the process during a run has stopped the run. */
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
