package mcad.platform;

import android.content.Context;
import android.content.Intent;
import android.content.SharedPreferences;
import android.content.pm.PackageInfo;
import android.content.pm.PackageManager;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import android.system.ErrnoException;
import android.system.Os;
import android.util.Log;
import java.io.File;
import java.util.Collections;
import mcad.gallery.PhotoSearch;

/**
 * {@link PhotoSearch} over the photos of this phone, with the bundle in the app's assets: the one object of the
 * process, which screens, service and job share.
 */
public final class MediaSearch {
    static final String TAG = "mcad";

    /** Where phones have Qualcomm's half of an NPU's libraries, behind what the app brings. */
    private static final String VENDOR = ";/vendor/lib/rfsa/adsp;/vendor/dsp/cdsp;/system/lib/rfsa/adsp;/dsp";

    private static final String CHARGING = "only-while-charging";

    private static PhotoSearch instance;

    private MediaSearch() {}

    /** Nothing is read or loaded before it is needed. */
    public static synchronized PhotoSearch of(Context any) {
        if (instance == null) {
            Context context = any.getApplicationContext();
            String libraries = context.getApplicationInfo().nativeLibraryDir;
            try {
                // ONNX Runtime reports usage to Microsoft unless this is set before it is loaded.
                Os.setenv("ORT_DISABLE_TELEMETRY", "1", true);
                // Where the NPU's own loader looks for its half of Qualcomm's runtime.
                Os.setenv("ADSP_LIBRARY_PATH", libraries + VENDOR, true);
            } catch (ErrnoException error) {
                Log.w(TAG, error); // an NPU's rung will not load, and the next is taken
            }
            instance = PhotoSearch.open(new PhotoSearch.Setup(path -> context.getAssets().open("bundle/" + path),
                context.getNoBackupFilesDir().toPath().resolve("photo-search"),
                Collections.singletonList(new File(libraries)), () -> environment(context), new MediaPhotos(context),
                new BitmapDecoder(), System::currentTimeMillis, () -> heat(context)));
        }
        return instance;
    }

    /**
     * Index now, in a service that the user sees: to be called from a screen that is visible. A run that is on goes
     * over the photos once more. Where Android lets no service start, a job does it as soon as it may.
     */
    public static void indexNow(Context context) {
        try {
            context.startForegroundService(new Intent(context, IndexService.class));
        } catch (IllegalStateException notAllowed) {
            Log.w(TAG, notAllowed);
            IndexJob.scheduleSoon(context, 0);
        }
    }

    /** Have the index follow the photos while the app is not used; not for the screen's thread. */
    public static void keepUpToDate(Context context) {
        IndexJob.scheduleNightly(context);
        IndexJob.scheduleChanges(context);
    }

    /**
     * Have jobs index only while the phone charges, from now on; {@link #indexNow} still does at once. Not for the
     * screen's thread.
     */
    public static void onlyWhileCharging(Context context, boolean only) {
        choices(context).edit().putBoolean(CHARGING, only).apply();
        IndexJob.reschedule(context);
    }

    public static boolean isOnlyWhileCharging(Context context) {
        return choices(context).getBoolean(CHARGING, false);
    }

    /** Whether what comes and goes may be indexed now, by the user's choice. */
    public static boolean mayFollow(Context context) {
        return !isOnlyWhileCharging(context) || context.getSystemService(BatteryManager.class).isCharging();
    }

    private static SharedPreferences choices(Context context) {
        return context.getSharedPreferences("photo-search", Context.MODE_PRIVATE);
    }

    /** A rung that ended the process may run under another version of the app, or of the phone's drivers. */
    private static String environment(Context context) {
        long updated = 0;
        try {
            PackageInfo app = context.getPackageManager().getPackageInfo(context.getPackageName(), 0);
            updated = app.lastUpdateTime;
        } catch (PackageManager.NameNotFoundException impossible) {
            Log.w(TAG, impossible);
        }
        return updated + " " + Build.FINGERPRINT;
    }

    /** 0 to 6; 0 before Android 10, which has no thermal status. */
    private static int heat(Context context) {
        return Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q
            ? context.getSystemService(PowerManager.class).getCurrentThermalStatus() : 0;
    }
}
