package mcad.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.os.SystemClock;
import android.view.ActionMode;
import android.view.MotionEvent;
import android.view.accessibility.AccessibilityNodeInfo;
import android.widget.GridView;
import android.widget.TextView;
import java.io.IOException;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import mcad.robolectric.AppTestCase;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.util.ReflectionHelpers;

/** One photo and its neighbours, and several photos at once. */
public final class ViewerTest extends AppTestCase {
    private final String[] paths = new String[3];
    private ActivityController<PhotoActivity> viewer;

    @Before
    public void photographs() throws IOException {
        allowPhotos();
        String[] names = {"china.jpg", "coffee.png", "chelsea.png"};
        for (int i = 0; i < paths.length; i++) {
            long ms = LocalDate.of(2020 + i, 5, 4).atTime(12, 0).atZone(ZoneId.systemDefault()).toInstant().toEpochMilli();
            photos.add(packaged(names[i]), PRIMARY, "DCIM/Camera/", "image/jpeg", ms);
        }
        index();
        for (int i = 0; i < paths.length; i++) {
            paths[i] = search().recent(9, mcad.gallery.Filter.ALL).get(paths.length - 1 - i).path();
        }
    }

    private void view(int photo) {
        viewer = open(PhotoActivity.class, new Intent(app(), PhotoActivity.class)
            .putExtra(PhotoActivity.PATH, paths[photo]).putExtra(PhotoActivity.PATHS, paths));
        awaitYear(2020 + photo);
    }

    private void awaitYear(int year) {
        waitFor("the photo of " + year, () -> String.valueOf(viewer.get().getTitle()).contains(String.valueOf(year)));
    }

    private ZoomView photo() {
        return viewer.get().findViewById(R.id.photo);
    }

    private void touch(int action, long ms, float x) {
        MotionEvent event = MotionEvent.obtain(1000, 1000 + ms, action, x, 100, 0);
        photo().dispatchTouchEvent(event);
        event.recycle();
    }

    private void swipe(float from, float to) {
        touch(MotionEvent.ACTION_DOWN, 0, from);
        for (int i = 1; i < 5; i++) {
            touch(MotionEvent.ACTION_MOVE, 10 * i, from + (to - from) * i / 5);
        }
        touch(MotionEvent.ACTION_UP, 50, to);
    }

    @Test
    public void aStrokeLeadsToTheNeighbours() {
        view(1);
        assertEquals("Camera", viewer.get().getActionBar().getSubtitle());
        assertTrue(photo().getContentDescription().toString().startsWith("Photo, taken on "));
        swipe(300, 20);
        awaitYear(2022);
        swipe(300, 20); // there is no other
        swipe(20, 300);
        awaitYear(2021);
        assertTrue(photo().performAccessibilityAction(AccessibilityNodeInfo.ACTION_SCROLL_BACKWARD, null));
        awaitYear(2020);
        viewer.recreate();
        awaitYear(2020);
    }

    @Test
    public void twoTouchesZoomAndAZoomedPhotoIsNotLeft() {
        view(1);
        long now = SystemClock.uptimeMillis();
        for (int ms : new int[] {0, 100}) {
            for (int action : new int[] {MotionEvent.ACTION_DOWN, MotionEvent.ACTION_UP}) {
                MotionEvent event = MotionEvent.obtain(now + ms, now + ms + action * 20, action, 50, 50, 0);
                photo().dispatchTouchEvent(event);
            }
        }
        assertEquals(3, photo().zoom(), 0);
        swipe(300, 20);
        idle();
        awaitYear(2021);
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void aPhotoIsBinnedOnlyWithTheUsersConsent() {
        view(1);
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.favourite));
        assertEquals("create_favorite_request 1", photos.asked());
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.delete));
        assertEquals("create_trash_request 1", photos.asked());
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_CANCELED, null);
        assertTrue(String.valueOf(viewer.get().getTitle()).contains("2021"));
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        awaitYear(2022);
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        awaitYear(2020);
        assertFalse(viewer.get().isFinishing());
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        assertTrue(viewer.get().isFinishing());
        assertEquals(Activity.RESULT_OK, shadowOf(viewer.get()).getResultCode());
    }

    @Test
    public void aPhotoOfTheGridIsOpenedWithItsNeighbours() {
        SearchActivity screen = open(SearchActivity.class).get();
        GridView grid = screen.findViewById(R.id.grid);
        waitFor("the photos", () -> grid.getChildCount() == paths.length);
        grid.performItemClick(grid.getChildAt(1), 1, 1);
        Intent opened = shadowOf(screen).getNextStartedActivity();
        assertEquals(paths[1], opened.getStringExtra(PhotoActivity.PATH));
        assertEquals(paths[2], opened.getStringArrayExtra(PhotoActivity.PATHS)[0]);
    }

    @Test
    public void severalPhotosAreSharedAndBinnedTogether() {
        SearchActivity screen = open(SearchActivity.class).get();
        ((TextView) screen.findViewById(R.id.query)).setText("a cat");
        GridView grid = screen.findViewById(R.id.grid);
        waitFor("the answer", () -> text(screen, R.id.status).endsWith("found"));
        press(grid, R.id.share);
        Intent chooser = shadowOf(screen).getNextStartedActivity();
        Intent send = chooser.getParcelableExtra(Intent.EXTRA_INTENT);
        assertEquals(Intent.ACTION_SEND_MULTIPLE, send.getAction());
        ArrayList<Uri> shared = send.getParcelableArrayListExtra(Intent.EXTRA_STREAM);
        assertEquals(2, shared.size());
        assertEquals(0, grid.getCheckedItemCount());
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
            press(grid, R.id.delete);
            assertEquals("create_trash_request 2", photos.asked());
            photos.remove(shared.get(0));
            screen.onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
            waitFor("one photo fewer", () -> grid.getCount() == 2);
        }
    }

    /** Choose two photos, and what is done with them. */
    private static void press(GridView grid, int item) {
        grid.setItemChecked(0, true);
        grid.setItemChecked(2, true);
        ActionMode mode = ReflectionHelpers.getField(grid, "mChoiceActionMode");
        assertEquals("2 photos", mode.getTitle());
        mode.getMenu().performIdentifierAction(item, 0);
    }
}
