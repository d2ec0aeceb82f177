package io.github.mcadmobile.demo;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.AlertDialog;
import android.app.Notification;
import android.content.ClipData;
import android.content.Intent;
import android.graphics.drawable.BitmapDrawable;
import android.os.BatteryManager;
import android.os.Build;
import android.os.Looper;
import android.widget.CheckBox;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.platform.IndexService;
import io.github.mcadmobile.platform.MediaSearch;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.Test;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.android.controller.ServiceController;
import org.robolectric.shadows.ShadowDialog;

/** From the first touch of the icon to the first photos found. */
public final class FirstRunTest extends AppTestCase {
    private static final String[] PHOTOS = {"astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg"};

    @Test
    public void photosAreFoundAfterAccessIsGiven() {
        for (String name : PHOTOS) {
            take(name);
        }
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        waitFor("the welcome", () -> isShown(activity, R.id.message_button));
        assertFalse("words without photos", isShown(activity, R.id.query));
        assertEquals(activity.getString(R.string.start_title), text(activity, R.id.message_title));
        assertEquals(activity.getString(R.string.allow), text(activity, R.id.message_button));

        activity.findViewById(R.id.message_button).performClick();
        String[] asked = shadowOf(activity).getLastRequestedPermission().requestedPermissions;
        assertArrayEquals(PhotoAccess.toRequest(Build.VERSION.SDK_INT, true), asked);
        answer(activity, asked);
        waitFor("the run, without another touch", () -> shadowOf(app()).peekNextStartedService() != null);
        assertFalse(isShown(activity, R.id.message_button));
        assertEquals(activity.getString(R.string.looking), text(activity, R.id.progress));

        ServiceController<IndexService> service = startService();
        Notification notification = shadowOf(service.get()).getLastForegroundNotification();
        assertEquals(activity.getString(R.string.indexing), notification.extras.getString(Notification.EXTRA_TITLE));
        assertEquals(notification.extras.getString(Notification.EXTRA_TEXT),
            notification.extras.getString(Notification.EXTRA_BIG_TEXT));
        String far = notification.extras.getString(Notification.EXTRA_TEXT);
        assertTrue(far, far.equals(activity.getString(R.string.looking)) || far.contains(" of 5 items"));
        assertEquals(List.of("Pause", "Stop"), Arrays.stream(notification.actions).map(action -> action.title).toList());
        assertEquals(List.of("io.github.mcadmobile.platform.PAUSE", "io.github.mcadmobile.platform.STOP"),
            Arrays.stream(notification.actions).map(
                action -> shadowOf(action.actionIntent).getSavedIntent().getAction()).toList());
        Intent back = shadowOf(notification.contentIntent).getSavedIntent();
        assertEquals(SearchActivity.class.getName(), back.getComponent().getClassName());
        assertEquals(Intent.FLAG_ACTIVITY_CLEAR_TOP | Intent.FLAG_ACTIVITY_SINGLE_TOP, back.getFlags());
        waitFor("the end of the service", () -> shadowOf(service.get()).isStoppedBySelf());
        assertTrue(shadowOf(service.get()).getNotificationShouldRemoved());
        service.destroy();
        waitFor("the count", () -> text(activity, R.id.progress).contains("5 items"));

        ((TextView) activity.findViewById(R.id.query)).setText("a dog");
        GridView grid = activity.findViewById(R.id.grid);
        waitFor("the tiles", () -> grid.getChildCount() == PHOTOS.length);
        waitFor("a thumbnail", () -> ((ImageView) grid.getChildAt(0).findViewById(R.id.picture)).getDrawable() instanceof BitmapDrawable shown
            && shown.getBitmap() != null);
        waitFor("the answer", () -> answers(activity, 5));
    }

    @Test
    public void wordsThatAreTypedBeforeTheFirstRunAreSearchedForAfterIt() throws IOException {
        take("china.jpg");
        allowPhotos();
        SearchActivity activity = open(SearchActivity.class).get();
        waitFor("the first run", () -> shadowOf(app()).peekNextStartedService() != null);
        ((TextView) activity.findViewById(R.id.query)).setText("a house");
        waitFor("the answer", () -> text(activity, R.id.status).equals(activity.getString(R.string.nothing_found)));
        index();
        waitFor("the other answer", () -> answers(activity, 1));
    }

    /** The service starts by itself; photos stand there as they are indexed, while the run goes on. */
    @Test
    public void photosAreShownAsTheyBecomeSearchable() throws IOException {
        allowPhotos();
        for (String name : PHOTOS) {
            take(name);
        }
        SearchActivity activity = open(SearchActivity.class).get();
        GridView grid = activity.findViewById(R.id.grid);
        waitFor("the first run", () -> shadowOf(app()).peekNextStartedService() != null);
        assertEquals(0, grid.getCount());
        search().index(() -> search().indexing().done() < 2); // it ends before the third
        int some = search().photos();
        assertTrue(some + " photos", some > 0 && some < PHOTOS.length);
        CountDownLatch gate = new CountDownLatch(1);
        search().addListener(() -> {
            try {
                assertTrue(search().indexing().done() <= some || gate.await(1, TimeUnit.MINUTES));
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
        });
        search().indexLater();
        waitFor("the first photos", () -> search().isIndexing() && grid.getCount() == some);
        gate.countDown();
        waitFor("all photos", () -> grid.getCount() == PHOTOS.length);
    }

    @Test
    public void aPhoneWithoutPhotosIsNotOfferedToBeIndexed() throws IOException {
        allowPhotos();
        index();
        SearchActivity activity = open(SearchActivity.class).get();
        waitFor("the message", () -> text(activity, R.id.message_text).equals(activity.getString(R.string.no_photos)));
        assertFalse(isShown(activity, R.id.message_button));
        assertFalse(menu(activity).findItem(R.id.index_now).isVisible());
    }

    @Test
    public void aPhotoThatIsSharedBeforeTheFirstRunFindsItsLikeAfterIt() throws IOException {
        Intent send = new Intent(Intent.ACTION_SEND, null, app(), SearchActivity.class).setType("image/jpeg");
        send.setClipData(ClipData.newRawUri(null, take("china.jpg")));
        SearchActivity activity = open(SearchActivity.class, send).get();
        idle();
        shadowOf(Looper.getMainLooper()).idleFor(Duration.ofSeconds(1)); // the pause after which a search starts
        waitFor("the welcome", () -> text(activity, R.id.message_text).equals(activity.getString(R.string.start_text)));
        activity.findViewById(R.id.message_button).performClick();
        answer(activity, PhotoAccess.toRequest(Build.VERSION.SDK_INT, true));
        waitFor("the first run", () -> shadowOf(app()).peekNextStartedService() != null);
        assertEquals(0, ((GridView) activity.findViewById(R.id.grid)).getCount());
        index();
        waitFor("the answer", () -> answers(activity, 1));
        assertFalse(isShown(activity, R.id.message));
    }

    @Test
    public void whatIsIndexedAndWhenIsChosenBeforeTheFirstRun() {
        allowPhotos();
        shadowOf(app().getSystemService(BatteryManager.class)).setIsCharging(false);
        take("china.jpg");
        photos.add(packaged("coffee.png"), PRIMARY, "Download/", "image/png", null);
        MediaSearch.stop(app());
        SearchActivity activity = open(SearchActivity.class).get();
        waitFor("the choice", () -> text(activity, R.id.message_text).startsWith("2 items\n"));
        activity.findViewById(R.id.message_charging).performClick();
        activity.findViewById(R.id.message_folders).performClick();
        waitFor("the folders", () -> ShadowDialog.getLatestDialog() != null);
        AlertDialog folders = (AlertDialog) ShadowDialog.getLatestDialog();
        folders.getListView().performItemClick(null, 1, 1);
        folders.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        waitFor("one photo fewer", () -> text(activity, R.id.message_text).startsWith("1 item\n"));
        assertNull("a run that nobody asked for", shadowOf(app()).peekNextStartedService());
        activity.findViewById(R.id.message_button).performClick();
        ServiceController<IndexService> service = startService();
        waitFor("the end of the service", () -> shadowOf(service.get()).isStoppedBySelf());
        waitFor("the charger", () -> text(activity, R.id.message_text).endsWith(
            activity.getString(R.string.waits_for_charger)));
        assertTrue(((CheckBox) activity.findViewById(R.id.message_charging)).isChecked());
    }
}
