package mcad.platform;

import android.content.BroadcastReceiver;
import android.content.Context;
import android.content.Intent;

/** Lets the index follow the photos again after the phone was switched on. */
public final class BootReceiver extends BroadcastReceiver {
    @Override
    public void onReceive(Context context, Intent intent) {
        if (Intent.ACTION_BOOT_COMPLETED.equals(intent.getAction())) {
            PendingResult result = goAsync();
            new Thread(() -> {
                IndexJob.scheduleAgain(context);
                result.finish();
            }, "boot").start();
        }
    }
}
