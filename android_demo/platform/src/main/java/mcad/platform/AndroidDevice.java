package mcad.platform;

import android.app.ActivityManager;
import android.app.ApplicationExitInfo;
import android.content.Context;
import android.content.pm.PackageManager;
import android.os.Build;
import android.os.PowerManager;
import android.os.Process;
import android.util.Log;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.ThreadFactory;
import mcad.gallery.Device;

/** This phone. */
record AndroidDevice(Context context, String name) implements Device {
    private static final String MEDIA = "photo-search";

    AndroidDevice(Context context) {
        this(context, MEDIA);
    }

    @Override
    public Path directory() {
        return context.getNoBackupFilesDir().toPath().resolve(name);
    }

    /** A rung that ended the process may run under another version of the app, or of the phone's drivers. */
    @Override
    public String environment() {
        long updated = 0;
        try {
            updated = context.getPackageManager().getPackageInfo(context.getPackageName(), 0).lastUpdateTime;
        } catch (PackageManager.NameNotFoundException impossible) {
            Log.w(MediaSearch.TAG, impossible);
        }
        return updated + " " + Build.FINGERPRINT;
    }

    /** 0 before Android 10, which has no thermal status. */
    @Override
    public int heat() {
        return Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q
            ? context.getSystemService(PowerManager.class).getCurrentThermalStatus() : 0;
    }

    @Override
    public int current() {
        return Process.myPid();
    }

    @Override
    public End end(int process) {
        return switch (reason(process)) {
            case ApplicationExitInfo.REASON_CRASH, ApplicationExitInfo.REASON_CRASH_NATIVE,
                ApplicationExitInfo.REASON_ANR, ApplicationExitInfo.REASON_LOW_MEMORY -> End.FAULT;
            // A phone that does not tell of low memory tells of a signal.
            case ApplicationExitInfo.REASON_UNKNOWN, ApplicationExitInfo.REASON_SIGNALED -> End.UNKNOWN;
            default -> End.OTHER;
        };
    }

    /** Whether the user ended a process: from Android's list of running apps, say. */
    boolean isEndedByUser(int process) {
        return reason(process) == ApplicationExitInfo.REASON_USER_REQUESTED;
    }

    /** Android 11 and later remember the last sixteen. */
    private int reason(int process) {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R || process == 0) { // of 0 it would tell the last one's
            return ApplicationExitInfo.REASON_UNKNOWN;
        }
        List<ApplicationExitInfo> exits =
            context.getSystemService(ActivityManager.class).getHistoricalProcessExitReasons(null, process, 1);
        return exits.isEmpty() ? ApplicationExitInfo.REASON_UNKNOWN : exits.get(0).getReason();
    }

    @Override
    public ThreadFactory threads() {
        int nice = Process.getThreadPriority(Process.myTid());
        return task -> new Thread(() -> {
            Process.setThreadPriority(nice); // a new thread of Java begins with the usual one
            task.run();
        }, "decode");
    }
}
