package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.ContentUris;
import android.content.Intent;
import android.content.pm.ActivityInfo;
import android.graphics.Bitmap;
import android.graphics.Color;
import android.graphics.Gainmap;
import android.graphics.Matrix;
import android.graphics.RectF;
import android.graphics.drawable.BitmapDrawable;
import android.graphics.drawable.Drawable;
import android.media.ExifInterface;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.os.Looper;
import android.os.SystemClock;
import android.text.format.Formatter;
import android.view.ActionMode;
import android.view.KeyEvent;
import android.view.MotionEvent;
import android.view.View;
import android.view.ViewGroup;
import android.view.accessibility.AccessibilityNodeInfo;
import android.widget.GridView;
import android.widget.TextView;
import android.widget.VideoView;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.robolectric.AppTestCase;
import io.github.mcadmobile.robolectric.Picture;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.stream.Collectors;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowToast;
import org.robolectric.shadows.ShadowVideoView;
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
            paths[i] = search().recent(9, Filter.ALL).get(paths.length - 1 - i).path();
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
    public void aStrokeUpOrDownDoesNotLeaveThePhoto() {
        view(1);
        for (int to : new int[] {400, 10}) {
            long down = SystemClock.uptimeMillis();
            for (int i = 0; i <= 5; i++) {
                int action = i == 0 ? MotionEvent.ACTION_DOWN : i == 5 ? MotionEvent.ACTION_UP : MotionEvent.ACTION_MOVE;
                photo().dispatchTouchEvent(MotionEvent.obtain(
                    down, down + 10 * i, action, 200 - 10 * i, 200 + (to - 200) * i / 5f, 0));
            }
        }
        Bundle left = new Bundle();
        viewer.saveInstanceState(left);
        assertEquals(paths[1], left.getString(PhotoActivity.PATH));
    }

    @Test
    public void aPhotoFitsIntoAWindowOfAnotherSize() {
        view(1);
        photo().layout(0, 0, 100, 300);
        RectF shown = shown();
        assertEquals(100, shown.width(), 0.01);
        assertEquals(0, shown.left, 0.01);
        assertEquals(150, shown.centerY(), 0.01);
    }

    private RectF shown() {
        Drawable whole = photo().getDrawable();
        RectF shown = new RectF(0, 0, whole.getIntrinsicWidth(), whole.getIntrinsicHeight());
        photo().getImageMatrix().mapRect(shown);
        return shown;
    }

    private void doubleTap(long now) {
        for (int ms : new int[] {0, 100}) {
            for (int action : new int[] {MotionEvent.ACTION_DOWN, MotionEvent.ACTION_UP}) {
                MotionEvent event = MotionEvent.obtain(now + ms, now + ms + action * 20, action, 50, 50, 0);
                photo().dispatchTouchEvent(event);
            }
        }
    }

    @Test
    public void twoTouchesZoomAndAZoomedPhotoIsNotLeft() {
        view(1);
        long now = SystemClock.uptimeMillis();
        doubleTap(now);
        assertEquals(3, photo().zoom(), 0);
        float[] values = new float[9];
        photo().getImageMatrix().getValues(values);
        Drawable whole = photo().getDrawable();
        float fit = Math.min(photo().getWidth() / (float) whole.getIntrinsicWidth(),
            photo().getHeight() / (float) whole.getIntrinsicHeight());
        assertEquals(3 * fit, values[Matrix.MSCALE_X], 1e-4);
        assertEquals(3 * fit, values[Matrix.MSCALE_Y], 1e-4);
        // What was under the fingers stays there, as far as no edge is left empty.
        assertEquals(near(photo().getWidth(), whole.getIntrinsicWidth() * fit), values[Matrix.MTRANS_X], 0.01);
        assertEquals(near(photo().getHeight(), whole.getIntrinsicHeight() * fit), values[Matrix.MTRANS_Y], 0.01);
        swipe(300, 20);
        idle();
        awaitYear(2021);
        float left = values[Matrix.MTRANS_X];
        photo().getImageMatrix().getValues(values);
        assertTrue("it follows the finger", values[Matrix.MTRANS_X] < left - 100);
        doubleTap(now + 2000);
        assertEquals(1, photo().zoom(), 0);
        photo().getImageMatrix().getValues(values);
        assertEquals((photo().getWidth() - whole.getIntrinsicWidth() * fit) / 2, values[Matrix.MTRANS_X], 0.01);
    }

    @Test
    public void theNextPhotoIsShownWhole() {
        view(1);
        doubleTap(SystemClock.uptimeMillis());
        assertEquals(3, photo().zoom(), 0);
        photo().performAccessibilityAction(AccessibilityNodeInfo.ACTION_SCROLL_FORWARD, null);
        awaitYear(2022);
        assertEquals(1, photo().zoom(), 0);
        assertEquals(photo().getWidth() / 2f, shown().centerX(), 0.01);
        assertEquals(photo().getHeight() / 2f, shown().centerY(), 0.01);
    }

    @Test
    public void twoFingersZoomFromTheWholePhotoToSixTimesIt() {
        view(1);
        pinch(200, 300);
        assertTrue(photo().zoom() + " times", photo().zoom() > 1.1 && photo().zoom() < 2);
        for (int i = 0; i < 8; i++) {
            pinch(200, 400);
        }
        assertEquals(6, photo().zoom(), 0);
        for (int i = 0; i < 8; i++) {
            pinch(400, 200);
        }
        assertEquals(1, photo().zoom(), 0);
    }

    /** Its stripes are a pixel wide, and grey in the bitmap that shows it whole. */
    @Test
    public void aZoomedPhotoIsDrawnInAllItsPixels() throws IOException {
        RuntimeEnvironment.setQualifiers("w411dp-h891dp-xhdpi");
        Bitmap stripes = Bitmap.createBitmap(4800, 600, Bitmap.Config.ARGB_8888);
        int[] row = new int[4800];
        for (int x = 0; x < row.length; x++) {
            row[x] = x % 2 == 0 ? Color.BLACK : Color.WHITE;
        }
        for (int y = 0; y < 600; y++) {
            stripes.setPixels(row, 0, row.length, 0, y, row.length, 1);
        }
        File file = new File(app().getCacheDir(), "stripes.jpg");
        try (OutputStream out = new FileOutputStream(file)) {
            stripes.compress(Bitmap.CompressFormat.JPEG, 100, out);
        }
        long ms = LocalDate.of(2023, 5, 4).atTime(12, 0).atZone(ZoneId.systemDefault()).toInstant().toEpochMilli();
        photos.add(file, PRIMARY, "DCIM/Camera/", "image/jpeg", ms);
        paths[0] = search().recent(1, Filter.ALL).get(0).path();
        viewer = open(PhotoActivity.class, new Intent(app(), PhotoActivity.class)
            .putExtra(PhotoActivity.PATH, paths[0]).putExtra(PhotoActivity.PATHS, paths));
        awaitYear(2023);
        for (int i = 0; i < 8; i++) {
            pinch(400, 1200);
        }
        assertEquals(6, photo().zoom(), 0);
        waitFor("the stripes", () -> contrast() > 100);
        for (int i = 0; i < 8; i++) {
            pinch(1200, 400);
        }
        assertTrue("grey again", contrast() < 60);
        Object sharpener = ReflectionHelpers.getField(viewer.get(), "sharpener");
        assertNotNull(ReflectionHelpers.getField(sharpener, "regions"));
        swipe(300, 20);
        awaitYear(2021);
        waitFor("the end of the decoder", () -> ReflectionHelpers.getField(sharpener, "regions") == null);
        close(viewer);
        assertTrue(ReflectionHelpers.<ExecutorService>getField(sharpener, "worker").isShutdown());
    }

    /** The range of levels within a line in the middle of the photo. */
    private int contrast() {
        Bitmap shown = Picture.of(viewer.get());
        int[] place = new int[2];
        photo().getLocationOnScreen(place);
        int[] levels = new int[60];
        for (int i = 0; i < levels.length; i++) {
            levels[i] = shown.getPixel(place[0] + photo().getWidth() / 2 + i, place[1] + photo().getHeight() / 2) & 0xff;
        }
        shown.recycle(); // many are drawn while one waits
        return Arrays.stream(levels).max().getAsInt() - Arrays.stream(levels).min().getAsInt();
    }

    /** Move two fingers, one above the other, from one distance in pixels to another. */
    private void pinch(float from, float to) {
        long down = SystemClock.uptimeMillis();
        fingers(down, 0, MotionEvent.ACTION_DOWN, 1, from);
        int second = 1 << MotionEvent.ACTION_POINTER_INDEX_SHIFT;
        fingers(down, 10, MotionEvent.ACTION_POINTER_DOWN | second, 2, from);
        for (int i = 1; i <= 10; i++) {
            fingers(down, 10 + 10 * i, MotionEvent.ACTION_MOVE, 2, from + (to - from) * i / 10);
        }
        fingers(down, 120, MotionEvent.ACTION_POINTER_UP | second, 2, to);
        fingers(down, 130, MotionEvent.ACTION_UP, 1, to);
        idle();
    }

    private void fingers(long down, long ms, int action, int count, float distance) {
        MotionEvent.PointerProperties[] ids = new MotionEvent.PointerProperties[count];
        MotionEvent.PointerCoords[] places = new MotionEvent.PointerCoords[count];
        for (int i = 0; i < count; i++) {
            ids[i] = new MotionEvent.PointerProperties();
            ids[i].id = i;
            places[i] = new MotionEvent.PointerCoords();
            places[i].x = 150;
            places[i].y = 200 + (i - 0.5f) * distance;
        }
        MotionEvent event = MotionEvent.obtain(down, down + ms, action, count, ids, places, 0, 0, 1, 1, 0, 0, 0, 0);
        photo().dispatchTouchEvent(event);
        event.recycle();
    }

    /** Where a side begins whose middle was drawn and that was made three times as large around 50. */
    private static float near(float room, float side) {
        float at = 50 - 3 * (50 - (room - side) / 2);
        return 3 * side <= room ? (room - 3 * side) / 2 : Math.max(room - 3 * side, Math.min(0, at));
    }

    @Test
    public void keysAndScreenReadersStepTheWayThatTheyPoint() {
        view(1);
        photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_DPAD_RIGHT));
        awaitYear(2022);
        photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_DPAD_LEFT));
        awaitYear(2021);
        AccessibilityNodeInfo node = photo().createAccessibilityNodeInfo();
        assertTrue(node.isScrollable());
        assertTrue(node.getActionList().contains(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_FORWARD));
        assertTrue(node.getActionList().contains(AccessibilityNodeInfo.AccessibilityAction.ACTION_SCROLL_BACKWARD));
        photo().performAccessibilityAction(AccessibilityNodeInfo.ACTION_SCROLL_FORWARD, null);
        awaitYear(2022);
        photo().setLayoutDirection(View.LAYOUT_DIRECTION_RTL);
        photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_DPAD_RIGHT));
        awaitYear(2021);
        swipe(300, 20);
        awaitYear(2020);
    }

    @Test
    public void otherKeysAreTheScreens() {
        view(1);
        assertFalse(photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_DPAD_DOWN)));
        assertFalse(photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_BACK)));
    }

    @Test
    public void aPhotoIsSharedAndOpenedByItsUri() {
        view(1);
        viewer.get().findViewById(R.id.share).performClick();
        Intent send = shadowOf(viewer.get()).getNextStartedActivity().getParcelableExtra(Intent.EXTRA_INTENT);
        assertEquals(Intent.ACTION_SEND, send.getAction());
        assertEquals("image/*", send.getType());
        assertEquals(Uri.parse(MediaPath.uri(paths[1])), send.getParcelableExtra(Intent.EXTRA_STREAM));
        assertTrue((send.getFlags() & Intent.FLAG_GRANT_READ_URI_PERMISSION) != 0);
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        Intent open = shadowOf(viewer.get()).getNextStartedActivity();
        assertEquals(Intent.ACTION_VIEW, open.getAction());
        assertEquals(Uri.parse(MediaPath.uri(paths[1])), open.getData());
        assertEquals("image/*", open.getType());
        assertTrue((open.getFlags() & Intent.FLAG_GRANT_READ_URI_PERMISSION) != 0);
        shadowOf(app()).checkActivities(true); // from now on, of apps that there are
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        assertEquals(app().getString(R.string.no_app), ShadowToast.getTextOfLatestToast());
        ExecutorService loader = ReflectionHelpers.getField(viewer.get(), "loader");
        close(viewer);
        assertTrue(loader.isShutdown());
    }

    @Test
    public void aVideoIsShownAtItsMomentAndPlayedFromThere() throws IOException {
        film("film.mp4", 40_000, "china.jpg", "astronaut.png");
        index();
        String film = search().search("a woman", 1, Filter.ALL.of(Filter.Kind.VIDEO)).results().get(0).path();
        String row = Moments.path(film, 24_000);
        viewer = open(PhotoActivity.class, new Intent(app(), PhotoActivity.class)
            .putExtra(PhotoActivity.PATH, row).putExtra(PhotoActivity.PATHS, new String[] {paths[1], row}));
        waitFor("the way to play it", () -> text(viewer.get(), R.id.play).equals("Play from 00:24"));
        assertEquals("the astronaut", photo().getDrawable().getIntrinsicWidth(), photo().getDrawable().getIntrinsicHeight());
        assertTrue(photo().getContentDescription().toString().startsWith("Video at 00:24, taken on "));
        VideoView video = viewer.get().findViewById(R.id.video);
        ShadowVideoView player = shadowOf(video);
        viewer.get().findViewById(R.id.play).performClick();
        assertTrue(video.isShown() && video.isPlaying());
        assertEquals(MediaPath.uri(row), player.getVideoURIString());
        assertEquals(24_000, video.getCurrentPosition());
        player.getOnCompletionListener().onCompletion(null);
        assertFalse(video.isShown() || video.isPlaying());
        viewer.get().findViewById(R.id.play).performClick();
        viewer.pause();
        assertFalse(video.isShown() || video.isPlaying());
        viewer.resume();
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        assertEquals("video/*", shadowOf(viewer.get()).getNextStartedActivity().getType());
        assertEquals("*/*", PhotoActions.kind(List.of(paths[0], row)));
        viewer.get().findViewById(R.id.like).performClick();
        String like = shadowOf(viewer.get()).getNextStartedActivity().getStringExtra(SearchActivity.LIKE);
        assertEquals(row, like);
        assertEquals(Set.of(paths), search().moreLike(like, 9).results().stream().map(hit -> hit.path()).collect(Collectors.toSet()));
        assertEquals(3, search().moreLike(like, "at night", 9, Filter.ALL).results().size());
        photo().dispatchKeyEvent(new KeyEvent(KeyEvent.ACTION_DOWN, KeyEvent.KEYCODE_DPAD_LEFT));
        awaitYear(2021);
        assertFalse(isShown(viewer.get(), R.id.play));
    }

    @Test
    public void aPanelSaysWhatIsKnownOfAPhoto() throws IOException {
        Path file = Files.copy(packaged("china.jpg").toPath(), app().getCacheDir().toPath().resolve("beach.jpg"));
        ExifInterface exif = new ExifInterface(file.toString());
        exif.setAttribute(ExifInterface.TAG_MAKE, "Google");
        exif.setAttribute(ExifInterface.TAG_MODEL, "Pixel 8");
        exif.saveAttributes();
        long ms = LocalDate.of(2023, 5, 4).atTime(12, 30).atZone(ZoneId.systemDefault()).toInstant().toEpochMilli();
        Uri house = photos.add(file.toFile(), PRIMARY, "DCIM/Trip/", "image/jpeg", ms);
        film("film.mp4", 40_000, "coffee.png");
        index();
        read(house, new PhotoWords(List.of(), List.of("Lisbon", "Portugal"), true));
        SearchActivity screen = open(SearchActivity.class).get();
        ((TextView) screen.findViewById(R.id.query)).setText("a house 2023");
        waitFor("the answer", () -> answers(screen, 1));
        GridView grid = screen.findViewById(R.id.grid);
        grid.performItemClick(grid.getChildAt(0), 0, 0);
        Intent opened = shadowOf(screen).getNextStartedActivity();
        String film = search().searchable(1, Filter.ALL.of(Filter.Kind.VIDEO)).get(0).path();
        viewer = open(PhotoActivity.class, opened.putExtra(PhotoActivity.PATHS,
            new String[] {opened.getStringExtra(PhotoActivity.PATH), Moments.path(film, 0)}));
        awaitYear(2023);
        assertFalse(isShown(viewer.get(), R.id.info));
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.show_info));
        assertTrue(isShown(viewer.get(), R.id.info));
        Map<String, String> info = info();
        String date = info.remove("Date");
        assertTrue(date, date.matches("Thursday, May 4, 2023(,| at) 12:30 PM"));
        assertEquals(Map.of("Place", "Lisbon, Portugal", "Size",
            "640 × 427 · " + Formatter.formatShortFileSize(app(), Files.size(file)), "Camera", "Google Pixel 8", "File",
            "DCIM/Trip/beach.jpg", "Why it was found", "What it shows is near to “a house”"), info);
        viewer.recreate();
        awaitYear(2023);
        assertTrue("after a turn", isShown(viewer.get(), R.id.info));
        swipe(300, 20);
        waitFor("the video", () -> "DCIM/Camera/film.mp4".equals(info().get("File")));
        assertEquals(Set.of("Date", "Size", "File", "Why it was found"), info().keySet());
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.show_info));
        assertFalse(isShown(viewer.get(), R.id.info));
        view(1);
        assertFalse("it was not searched for", info().containsKey("Why it was found"));
    }

    /** The panel's values by their names. */
    private Map<String, String> info() {
        ViewGroup rows = viewer.get().findViewById(R.id.rows);
        Map<String, String> info = new HashMap<>();
        for (int i = 0; i < rows.getChildCount(); i++) {
            info.put(((TextView) rows.getChildAt(i).findViewById(R.id.name)).getText().toString(),
                ((TextView) rows.getChildAt(i).findViewById(R.id.value)).getText().toString().replace('\u202f', ' '));
        }
        return info;
    }

    /** A photo with a gain map, which Android reads from Android 14 on. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.UPSIDE_DOWN_CAKE)
    public void aPhotoWithMoreBrightnessTurnsTheScreenToIt() {
        RuntimeEnvironment.setQualifiers("+highdr");
        view(1);
        assertEquals(ActivityInfo.COLOR_MODE_DEFAULT, viewer.get().getWindow().getColorMode());
        Bitmap bright = Bitmap.createBitmap(8, 8, Bitmap.Config.ARGB_8888);
        bright.setGainmap(new Gainmap(Bitmap.createBitmap(8, 8, Bitmap.Config.ARGB_8888)));
        for (Bitmap shown : new Bitmap[] {bright, null}) {
            ReflectionHelpers.callInstanceMethod(viewer.get(), "showBright", ReflectionHelpers.ClassParameter.from(Bitmap.class, shown));
            assertEquals(shown == null ? ActivityInfo.COLOR_MODE_DEFAULT : ActivityInfo.COLOR_MODE_HDR,
                viewer.get().getWindow().getColorMode());
        }
    }

    @Test
    public void photosThatArePassedByAreNotLoaded() {
        view(0);
        awaitNeighbours(1);
        photos.opened().clear();
        CountDownLatch gate = holdLoader();
        photo().performAccessibilityAction(AccessibilityNodeInfo.ACTION_SCROLL_FORWARD, null); // is loaded
        photo().performAccessibilityAction(AccessibilityNodeInfo.ACTION_SCROLL_FORWARD, null);
        gate.countDown();
        awaitYear(2022);
        assertFalse(photos.opened().contains("china.jpg")); // a neighbour of the one that was passed
    }

    @Test
    public void aNeighbourIsShownAtOnceAndSlidesIn() {
        view(1);
        awaitNeighbours(2);
        CountDownLatch gate = holdLoader();
        swipe(300, 20);
        assertTrue(viewer.get().getTitle().toString().contains("2022"));
        assertTrue("from the right", photo().getTranslationX() > 0);
        gate.countDown();
        waitFor("its place", () -> photo().getTranslationX() == 0 && photo().getAlpha() == 1);
        awaitNeighbours(1);
        photos.remove(Uri.parse(MediaPath.uri(paths[1])));
        viewer.get().onActivityResult(13, Activity.RESULT_OK, null); // from the gallery, where it was deleted
        waitFor("no neighbour", () -> ReflectionHelpers.<Map<?, ?>>getField(viewer.get(), "neighbours").isEmpty());
    }

    private void awaitNeighbours(int count) {
        waitFor("the neighbours", () -> ReflectionHelpers.<Map<?, ?>>getField(viewer.get(), "neighbours").size() == count);
    }

    private CountDownLatch holdLoader() {
        ExecutorService loader = ReflectionHelpers.getField(viewer.get(), "loader");
        CountDownLatch gate = new CountDownLatch(1);
        loader.execute(() -> {
            try {
                gate.await();
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
        });
        return gate;
    }

    @Test
    public void aTouchLeavesThePhotoAloneOnTheScreenAndAnotherBringsTheBarsBack() {
        view(1);
        for (boolean alone : new boolean[] {true, false}) {
            long now = SystemClock.uptimeMillis();
            for (int action : new int[] {MotionEvent.ACTION_DOWN, MotionEvent.ACTION_UP}) {
                photo().dispatchTouchEvent(MotionEvent.obtain(now, now + 20 * action, action, 50, 50, 0));
            }
            shadowOf(Looper.getMainLooper()).idleFor(Duration.ofSeconds(1)); // it is no double tap
            assertEquals(!alone, viewer.get().getActionBar().isShowing());
            assertEquals(!alone, isShown(viewer.get(), R.id.share));
            assertEquals(alone, (photo().getSystemUiVisibility() & View.SYSTEM_UI_FLAG_HIDE_NAVIGATION) != 0);
        }
    }

    @Test
    public void aPhotoThatIsGoneGivesItsPlaceToItsNeighbour() {
        photos.remove(Uri.parse(MediaPath.uri(paths[1])));
        view(0);
        swipe(300, 20);
        awaitYear(2022);
        assertEquals(app().getString(R.string.photo_gone), ShadowToast.getTextOfLatestToast());
        assertEquals(Activity.RESULT_OK, shadowOf(viewer.get()).getResultCode());
        viewer.recreate(); // as when the screen is turned
        awaitYear(2022);
        assertEquals(Activity.RESULT_OK, shadowOf(viewer.get()).getResultCode());
        swipe(20, 300);
        awaitYear(2020);
    }

    @Test
    public void aPhotoThatTheGalleryChangedIsLoadedAgainAndOneThatItDeletedIsNotShown() {
        view(1);
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        Intent open = shadowOf(viewer.get()).getNextStartedActivity();
        photos.opened().clear();
        shadowOf(viewer.get()).receiveResult(open, Activity.RESULT_CANCELED, null);
        waitFor("the photo again", () -> photos.opened().contains("coffee.png"));
        assertEquals(Activity.RESULT_OK, shadowOf(viewer.get()).getResultCode());
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        photos.remove(Uri.parse(MediaPath.uri(paths[1])));
        shadowOf(viewer.get()).receiveResult(shadowOf(viewer.get()).getNextStartedActivity(), Activity.RESULT_CANCELED, null);
        awaitYear(2022);
    }

    @Test
    public void aPhotoThatCannotBeDecodedStaysAndSaysSo() throws IOException {
        Path drawing = Files.writeString(app().getCacheDir().toPath().resolve("drawing.svg"), "<svg/>");
        long ms = LocalDate.of(2023, 5, 4).atTime(12, 0).atZone(ZoneId.systemDefault()).toInstant().toEpochMilli();
        Uri added = photos.add(drawing.toFile(), PRIMARY, "DCIM/Camera/", "image/svg+xml", ms);
        String path = search().recent(1, Filter.ALL).get(0).path();
        viewer = open(PhotoActivity.class, new Intent(app(), PhotoActivity.class)
            .putExtra(PhotoActivity.PATH, paths[2]).putExtra(PhotoActivity.PATHS, new String[] {paths[2], path}));
        awaitYear(2022);
        swipe(300, 20);
        awaitYear(2023);
        assertEquals("This phone cannot show this file.", ShadowToast.getTextOfLatestToast());
        Drawable shown = photo().getDrawable();
        assertTrue("no other photo", shown == null || ((BitmapDrawable) shown).getBitmap() == null);
        doubleTap(SystemClock.uptimeMillis()); // there is nothing to zoom
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.open));
        Intent open = shadowOf(viewer.get()).getNextStartedActivity();
        assertEquals(ContentUris.parseId(added), ContentUris.parseId(open.getData()));
        photos.remove(added);
        viewer.recreate();
        awaitYear(2022);
        assertEquals(app().getString(R.string.photo_gone), ShadowToast.getTextOfLatestToast());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void aPhotoIsBinnedOnlyWithTheUsersConsent() {
        photos.mark(Uri.parse(MediaPath.uri(paths[2])));
        view(1);
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.favourite));
        assertEquals("create_favorite_request 1 is_favorite=1", photos.asked());
        viewer.get().onActivityResult(PhotoActions.FAVOURITE, Activity.RESULT_CANCELED, null);
        assertFalse(isFavourite());
        viewer.get().onActivityResult(PhotoActions.FAVOURITE, Activity.RESULT_OK, null);
        assertTrue(isFavourite());
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.favourite));
        assertEquals("create_favorite_request 1 is_favorite=0", photos.asked());
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.delete));
        assertEquals("create_trash_request 1 is_trashed=1", photos.asked());
        shadowOf(viewer.get()).setThrowIntentSenderException(true);
        viewer.get().onOptionsItemSelected(new RoboMenuItem(R.id.delete));
        idle();
        assertEquals(Messages.failure(app(), McadException.Kind.OTHER), ShadowToast.getTextOfLatestToast());
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_CANCELED, null);
        assertTrue(String.valueOf(viewer.get().getTitle()).contains("2021"));
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        awaitYear(2022);
        assertTrue(isFavourite());
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        awaitYear(2020);
        assertFalse(viewer.get().isFinishing());
        viewer.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        assertTrue(viewer.get().isFinishing());
        assertEquals(Activity.RESULT_OK, shadowOf(viewer.get()).getResultCode());
    }

    private boolean isFavourite() {
        return menu(viewer.get()).findItem(R.id.favourite).isChecked();
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
        photos.remove(Uri.parse(MediaPath.uri(paths[0])));
        shadowOf(screen).receiveResult(opened, Activity.RESULT_OK, null); // one was deleted there
        waitFor("one photo fewer", () -> grid.getAdapter().getCount() == 2);
    }

    @Test
    public void severalPhotosAreSharedAndBinnedTogether() {
        SearchActivity screen = open(SearchActivity.class).get();
        ((TextView) screen.findViewById(R.id.query)).setText("a cat");
        GridView grid = screen.findViewById(R.id.grid);
        waitFor("the answer", () -> answers(screen, ((GridView) screen.findViewById(R.id.grid)).getCount()));
        press(grid, R.id.share);
        Intent chooser = shadowOf(screen).getNextStartedActivity();
        Intent send = chooser.getParcelableExtra(Intent.EXTRA_INTENT);
        assertEquals(Intent.ACTION_SEND_MULTIPLE, send.getAction());
        ArrayList<Uri> shared = send.getParcelableArrayListExtra(Intent.EXTRA_STREAM);
        assertEquals(List.of(uri(grid, 0), uri(grid, 2)), shared);
        assertEquals(0, grid.getCheckedItemCount());
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
            press(grid, R.id.delete);
            assertEquals("create_trash_request 2 is_trashed=1", photos.asked());
            photos.remove(shared.get(0));
            screen.onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
            waitFor("one photo fewer", () -> grid.getCount() == 2);
        }
    }

    @Test
    public void aSelectionEndsWhenOtherPhotosTakeTheirPlaces() {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        GridView grid = screen.get().findViewById(R.id.grid);
        waitFor("the photos", () -> grid.getChildCount() == paths.length);
        select(grid);
        screen.pause();
        take("flower.jpg");
        screen.resume();
        waitFor("the new photo", () -> grid.getCount() == paths.length + 1);
        assertEquals(0, grid.getCheckedItemCount());
        assertNull(mode(grid));
        select(grid);
        ((TextView) screen.get().findViewById(R.id.query)).setText("a cat");
        waitFor("the answer", () -> answers(screen.get(), ((GridView) screen.get().findViewById(R.id.grid)).getCount()));
        assertEquals(0, grid.getCheckedItemCount());
        assertNull(mode(grid));
    }

    @Test
    public void aSelectionSurvivesATurnWithItsTitle() {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        GridView grid = screen.get().findViewById(R.id.grid);
        waitFor("the photos", () -> grid.getChildCount() == paths.length);
        select(grid);
        screen.recreate();
        GridView turned = screen.get().findViewById(R.id.grid);
        waitFor("the photos again", () -> turned.getChildCount() == paths.length);
        assertEquals("2 items", mode(turned).getTitle());
        assertTrue(turned.isItemChecked(0) && turned.isItemChecked(2));
        photos.remove(uri(turned, 1));
        screen.pause().resume();
        waitFor("one photo fewer", () -> turned.getCount() == paths.length - 1);
        assertNull(mode(turned));
    }

    private static ActionMode mode(GridView grid) {
        return ReflectionHelpers.getField(grid, "mChoiceActionMode");
    }

    private static void select(GridView grid) {
        grid.setItemChecked(0, true);
        grid.setItemChecked(2, true);
        assertEquals("2 items", mode(grid).getTitle());
    }

    private static Uri uri(GridView grid, int position) {
        return Uri.parse(MediaPath.uri(((ResultGrid) grid.getAdapter()).path(position)));
    }

    /** Choose two photos, and what is done with them. */
    private static void press(GridView grid, int item) {
        select(grid);
        ActionMode mode = mode(grid);
        assertEquals(Build.VERSION.SDK_INT >= Build.VERSION_CODES.R, mode.getMenu().findItem(R.id.delete).isVisible());
        mode.getMenu().performIdentifierAction(item, 0);
    }
}
