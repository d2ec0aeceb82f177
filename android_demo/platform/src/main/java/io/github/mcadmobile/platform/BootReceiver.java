package io.github.mcadmobile.platform;

import android.content.BroadcastReceiver;
import android.content.Context;
import android.content.Intent;

/** Schedules the job that watches for changed photos again after a reboot, which drops it. */
public final class BootReceiver extends BroadcastReceiver {
    @Override
    public void onReceive(Context context, Intent intent) {
        if (Intent.ACTION_BOOT_COMPLETED.equals(intent.getAction())) {
            PendingResult result = goAsync();
            new Thread(() -> {
                try {
                    IndexJob.scheduleAgain(context);
                } finally {
                    result.finish();
                }
            }, "boot").start();
        }
    }
}
