package io.github.mcadmobile.demo;

import android.app.Activity;
import android.content.Intent;
import android.content.SharedPreferences;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Build;
import android.provider.Settings;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.platform.MediaPhotos;

/** Asks for the permissions of a screen: photos and videos, where they were taken, and the notification of a run. */
final class Access {
    private static final int PHOTOS = 1;
    private static final int NOTIFICATIONS = 2;
    static final int PLACES = 3;
    private static final String POST = "android.permission.POST_NOTIFICATIONS";
    private static final String LOCATION = "android.permission.ACCESS_MEDIA_LOCATION";
    private static final String REFUSED = "refused";
    /** Per process: counts the answers on all screens. */
    private static final PhotoAccess.Refusals REFUSALS = new PhotoAccess.Refusals();

    private final Activity screen;
    private final MediaPhotos photos;
    private boolean explained;
    /** Saved, as the next process would ask in vain. */
    private volatile boolean refused;

    Access(Activity screen, MediaPhotos photos) {
        this.screen = screen;
        this.photos = photos;
        DemoApp.WORKER.execute(() -> refused = kept().getBoolean(REFUSED, false));
    }

    PhotoAccess.State state() {
        return photos.access();
    }

    /** Whether Android no longer asks the user, so that only the settings help. */
    boolean isRefused() {
        return refused;
    }

    void ask() {
        String[] permissions = PhotoAccess.toRequest(Build.VERSION.SDK_INT, true);
        explained = screen.shouldShowRequestPermissionRationale(permissions[0]);
        screen.requestPermissions(permissions, PHOTOS);
    }

    /** Handle the user's answer; true if it was about photos. Without permissions, the dialog was dismissed. */
    boolean isAnswered(int request, String[] permissions) {
        if (request == PHOTOS) {
            refused = state() == PhotoAccess.State.NONE && permissions.length > 0
                && REFUSALS.isLast(explained, screen.shouldShowRequestPermissionRationale(permissions[0]));
            boolean last = refused;
            DemoApp.WORKER.execute(() -> kept().edit().putBoolean(REFUSED, last).apply());
        }
        return request == PHOTOS;
    }

    /** Without it a run works, but shows no progress. */
    void askForNotifications() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU
                && screen.checkSelfPermission(POST) != PackageManager.PERMISSION_GRANTED) {
            screen.requestPermissions(new String[] {POST}, NOTIFICATIONS);
        }
    }

    boolean hasPlaces() {
        return photos.hasPlaces();
    }

    void askForPlaces() {
        screen.requestPermissions(new String[] {LOCATION}, PLACES);
    }

    private SharedPreferences kept() {
        return screen.getSharedPreferences("access", Activity.MODE_PRIVATE);
    }

    void openSettings() {
        Uri app = Uri.fromParts("package", screen.getPackageName(), null);
        screen.startActivity(new Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, app));
    }
}
