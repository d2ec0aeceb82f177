package io.github.mcadmobile.platform;

import android.app.ActivityManager;
import android.app.ApplicationExitInfo;
import android.content.Context;
import android.content.pm.PackageManager;
import android.os.Build;
import android.os.PowerManager;
import android.os.Process;
import android.util.Log;
import io.github.mcadmobile.gallery.Device;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;

/** The phone that this process runs on. */
record AndroidDevice(Context context, String name) implements Device {
    private static final String MEDIA = "photo-search";
    private static final long UPDATE_MS = TimeUnit.MINUTES.toMillis(1);

    AndroidDevice(Context context) {
        this(context, MEDIA);
    }

    @Override
    public Path directory() {
        return context.getNoBackupFilesDir().toPath().resolve(name);
    }

    /** A rung that crashed the process may run with another version of the app or the phone's drivers. */
    @Override
    public String environment() {
        return updatedMs() + " " + Build.FINGERPRINT;
    }

    /** Empty before Android 12, which does not tell. */
    @Override
    public String chip() {
        boolean told = Build.VERSION.SDK_INT >= Build.VERSION_CODES.S && !Build.SOC_MODEL.equals(Build.UNKNOWN);
        return told ? Build.SOC_MODEL : "";
    }

    /** When the app was last installed or updated. */
    private long updatedMs() {
        try {
            return context.getPackageManager().getPackageInfo(context.getPackageName(), 0).lastUpdateTime;
        } catch (PackageManager.NameNotFoundException impossible) {
            Log.w(MediaSearch.TAG, impossible);
            return 0;
        }
    }

    /** 0 before Android 10, which lacks a thermal status. */
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
            // Phones that do not report low memory report a signal.
            case ApplicationExitInfo.REASON_UNKNOWN, ApplicationExitInfo.REASON_SIGNALED -> End.UNKNOWN;
            default -> End.OTHER;
        };
    }

    /** Whether the user ended a process, for example from Android's list of running apps. */
    boolean isEndedByUser(int process) {
        if (reason(process) != ApplicationExitInfo.REASON_USER_REQUESTED) {
            return false;
        }
        // Android 11 to 13 report an update of the app by the same reason.
        return Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE
            || Math.abs(exits(process).get(0).getTimestamp() - updatedMs()) > UPDATE_MS;
    }

    private int reason(int process) {
        List<ApplicationExitInfo> exits = exits(process);
        return exits.isEmpty() ? ApplicationExitInfo.REASON_UNKNOWN : exits.get(0).getReason();
    }

    /** How a process ended, or nothing: Android 11 and later keep the last sixteen exits. */
    private List<ApplicationExitInfo> exits(int process) {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R || process == 0) { // for 0 Android returns the latest
            return Collections.emptyList();
        }
        return context.getSystemService(ActivityManager.class).getHistoricalProcessExitReasons(null, process, 1);
    }

    @Override
    public ThreadFactory threads() {
        int nice = Process.getThreadPriority(Process.myTid());
        return task -> new Thread(() -> {
            Process.setThreadPriority(nice); // new Java threads start at default priority
            task.run();
        }, "decode");
    }
}
