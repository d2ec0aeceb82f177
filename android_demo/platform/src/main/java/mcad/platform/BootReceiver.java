package mcad.platform;

import android.content.BroadcastReceiver;
import android.content.Context;
import android.content.Intent;

/** The phone was switched on: the index follows the photos again. */
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
