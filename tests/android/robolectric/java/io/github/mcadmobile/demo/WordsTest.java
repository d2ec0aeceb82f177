package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.AlertDialog;
import android.content.ClipboardManager;
import android.content.Intent;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Build;
import android.view.KeyEvent;
import android.view.View;
import android.view.ViewGroup;
import android.widget.EditText;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.robolectric.AppTestCase;
import io.github.mcadmobile.robolectric.Picture;
import java.io.IOException;
import java.util.List;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowDialog;

/** Photos that are found by the text in them, by their names and by their places. */
public final class WordsTest extends AppTestCase {
    private static final String LOCATION = "android.permission.ACCESS_MEDIA_LOCATION";
    private static final List<Integer> BOX = List.of(2000, 3000, 8000, 3000, 8000, 4000, 2000, 4000);
    private static final PhotoWords TICKET = new PhotoWords(List.of(new PhotoWords.Line("BOARDING PASS \u202eLIS", BOX),
        new PhotoWords.Line("Gate 7", List.of())), List.of("Lisbon", "Portugal"), true);

    private SearchActivity screen;
    private GridView grid;

    @Before
    public void photographs() throws IOException {
        allowPhotos();
        Uri ticket = take("china.jpg");
        take("coffee.png");
        take("chelsea.png");
        index();
        read(ticket, TICKET);
        screen = open(SearchActivity.class).get();
        grid = screen.findViewById(R.id.grid);
        waitFor("the chip", () -> isShown(screen, R.id.by));
    }

    private void type(String words, int photos) {
        ((TextView) screen.findViewById(R.id.query)).setText(words);
        waitForAnswer(photos);
    }

    private void waitForAnswer(int photos) {
        waitFor("the answer", () -> answers(screen, photos)
            || text(screen, R.id.status).startsWith(photos + " result"));
        waitFor("the tiles", () -> grid.getChildCount() == photos);
    }

    private String why(int tile) {
        TextView line = grid.getChildAt(tile).findViewById(R.id.matched);
        return line.isShown() ? line.getText().toString() : "";
    }

    @Test
    public void aPhotoSaysWhyItWasFound() {
        type("boarding pass", 3);
        assertEquals("BOARDING PASS  LIS", why(0));
        assertEquals("", why(1));
        waitFor("its words", () -> String.valueOf(grid.getChildAt(0).getContentDescription()).endsWith("BOARDING PASS  LIS"));
        type("lisbon", 3);
        waitFor("the place", () -> why(0).equals("Lisbon"));
        type("china", 3);
        waitFor("the name", () -> why(0).equals("china"));
        type("dcim", 3);
        waitFor("the folder", () -> why(0).startsWith("DCIM/Camera/"));
    }

    @Test
    public void theTextOfAPhotoIsMarkedAndCopied() throws IOException {
        type("boarding pass", 3);
        grid.performItemClick(grid.getChildAt(0), 0, 0);
        Intent opens = shadowOf(screen).getNextStartedActivity();
        PhotoActivity viewer = open(PhotoActivity.class, opens).get();
        ImageView photo = viewer.findViewById(R.id.photo);
        waitFor("the photo", () -> photo.getDrawable() != null);
        assertEquals("BOARDING PASS  LIS", text(viewer, R.id.matched));
        viewer.onOptionsItemSelected(new RoboMenuItem(R.id.show_info));
        ViewGroup info = viewer.findViewById(R.id.rows);
        View last = info.getChildAt(info.getChildCount() - 1);
        assertEquals("Why it was found", ((TextView) last.findViewById(R.id.name)).getText().toString());
        assertEquals("BOARDING PASS  LIS", ((TextView) last.findViewById(R.id.value)).getText().toString());
        viewer.onOptionsItemSelected(new RoboMenuItem(R.id.show_info));
        idle();
        assertEquals("Camera · Lisbon", viewer.getActionBar().getSubtitle().toString());
        Bitmap shown = Picture.of(viewer);
        int[] place = new int[2];
        photo.getLocationOnScreen(place);
        float height = photo.getWidth() * photo.getDrawable().getIntrinsicHeight() / (float) photo.getDrawable().getIntrinsicWidth();
        int top = Math.round(place[1] + (photo.getHeight() - height) / 2 + 0.3f * height);
        assertEquals(viewer.getColor(R.color.mark), shown.getPixel(place[0] + photo.getWidth() / 2, top));
        assertTrue(menu(viewer).findItem(R.id.copy).isVisible());
        viewer.onOptionsItemSelected(new RoboMenuItem(R.id.copy));
        assertEquals("BOARDING PASS  LIS\nGate 7",
            app().getSystemService(ClipboardManager.class).getPrimaryClip().getItemAt(0).getText().toString());
        photo.onKeyDown(KeyEvent.KEYCODE_DPAD_RIGHT, null);
        waitFor("its neighbour", () -> !menu(viewer).findItem(R.id.copy).isVisible());
        assertFalse(isShown(viewer, R.id.matched));
    }

    @Test
    public void wordsOrWhatPhotosShowAreSearchedAlone() {
        type("boarding pass", 3);
        choose(screen, R.id.by, R.string.by_words);
        waitForAnswer(1);
        assertEquals("Words in photos", text(screen, R.id.by));
        screen.findViewById(R.id.by).performClick();
        choose(screen, R.id.by, R.string.by_content);
        waitForAnswer(3);
        assertEquals("What photos show", text(screen, R.id.by));
        assertEquals("", why(0) + why(1) + why(2));
        screen.findViewById(R.id.by).performClick();
        waitFor("both", () -> !why(0).isEmpty());
        assertEquals("", text(screen, R.id.by));
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void placesAreAskedForWhenTheUserTurnsThemOn() {
        assertNull(shadowOf(screen).getLastRequestedPermission());
        screen.findViewById(R.id.place).performClick();
        idle();
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        assertEquals(List.of(LOCATION), List.of(shadowOf(screen).getLastRequestedPermission().requestedPermissions));
        answer(screen);
        assertNull("a run without places", shadowOf(app()).peekNextStartedService());
        screen.turnPlacesOn();
        answer(screen, LOCATION);
        assertEquals(1, shadowOf(app()).getAllStartedServices().size());
        searchPlace();
    }

    @Test
    @Config(maxSdk = Build.VERSION_CODES.P)
    public void placesOfAnOldPhoneNeedNoPermission() {
        searchPlace();
    }

    private void searchPlace() {
        type("a house", 3);
        screen.findViewById(R.id.place).performClick();
        idle();
        AlertDialog dialog = (AlertDialog) ShadowDialog.getLatestDialog();
        ((EditText) dialog.findViewById(R.id.place_name)).setText(" lisbon ");
        dialog.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        waitForAnswer(1);
        assertEquals("lisbon", text(screen, R.id.place));
        assertEquals(View.GONE, grid.getChildAt(0).findViewById(R.id.matched).getVisibility());
    }
}
