package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.ClipData;
import android.content.ContentUris;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.provider.MediaStore;
import android.view.ViewGroup;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.time.LocalDate;
import java.util.Set;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowToast;

/** Screens that are turned, left, killed and come back to; photos that other apps share and pickers give. */
public final class LifeTest extends AppTestCase {
    private static final int PHOTOS = 3;

    private Uri chelsea;

    @Before
    public void indexed() throws IOException {
        allowPhotos();
        take("coffee.png");
        chelsea = take("chelsea.png");
        take("china.jpg");
        index();
    }

    private static void type(Activity screen, String words) {
        ((TextView) screen.findViewById(R.id.query)).setText(words);
        waitForTiles(screen, PHOTOS);
    }

    private static void waitForTiles(Activity screen, int count) {
        GridView grid = screen.findViewById(R.id.grid);
        waitFor(count + " tiles", () -> grid.getAdapter().getCount() == count);
    }

    /** Ends the process, as Android does behind the user's back, and shows the screen as it was left. */
    private <T extends Activity> ActivityController<T> kill(ActivityController<T> screen, Class<T> kind)
            throws ReflectiveOperationException {
        Bundle saved = new Bundle();
        Intent intent = screen.get().getIntent();
        screen.pause().stop().saveInstanceState(saved).destroy();
        forget();
        ActivityController<T> again = Robolectric.buildActivity(kind, intent).create(saved).start()
            .restoreInstanceState(saved).resume().visible();
        return keep(again);
    }

    @Test
    public void aTurnAndADeathKeepWordsPhotosAndFilter() throws ReflectiveOperationException {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        type(screen.get(), "a cat");
        screen.get().searchFolders(Set.of("DCIM/Camera"));
        screen.get().searchDays(LocalDate.now().minusDays(1), LocalDate.now());
        String filter = text(screen.get(), R.id.time);
        assertEquals("Camera", text(screen.get(), R.id.albums));

        RuntimeEnvironment.setQualifiers("+land");
        screen.configurationChange();
        Activity turned = screen.get();
        waitForTiles(turned, PHOTOS);
        assertEquals("a cat", text(turned, R.id.query));
        assertEquals(filter, text(turned, R.id.time));
        assertEquals("Camera", text(turned, R.id.albums));

        Activity reborn = kill(screen, SearchActivity.class).get();
        waitForTiles(reborn, PHOTOS);
        assertEquals("a cat", text(reborn, R.id.query));
        assertEquals(filter, text(reborn, R.id.time));
        assertEquals("Camera", text(reborn, R.id.albums));
    }

    @Test
    public void aPhotoAndItsLikeComeBackAfterADeath() throws ReflectiveOperationException {
        ActivityController<PhotoActivity> photo = open(PhotoActivity.class,
            new Intent(app(), PhotoActivity.class).putExtra(PhotoActivity.PATH, search("a cat")));
        waitFor("the photo", () -> drawn(photo.get()));
        Activity reborn = kill(photo, PhotoActivity.class).get();
        waitFor("the photo again", () -> drawn(reborn));

        reborn.findViewById(R.id.like).performClick();
        Intent asked = shadowOf(reborn).getNextStartedActivity();
        ActivityController<SearchActivity> like = open(SearchActivity.class, asked);
        waitForTiles(like.get(), PHOTOS - 1);
        assertEquals(like.get().getString(R.string.like_title), like.get().getTitle());
        Activity again = kill(like, SearchActivity.class).get();
        waitForTiles(again, PHOTOS - 1);
    }

    private static boolean drawn(Activity photo) {
        return ((ImageView) photo.findViewById(R.id.photo)).getDrawable() != null;
    }

    private static String search(String words) {
        try {
            return search().search(words, 1).results().get(0).path();
        } catch (IOException error) {
            throw new AssertionError(error);
        }
    }

    @Test
    public void theNumbersComeBackAfterADeath() throws ReflectiveOperationException {
        ActivityController<NumbersActivity> numbers = open(NumbersActivity.class);
        Activity reborn = kill(numbers, NumbersActivity.class).get();
        waitFor("the numbers", () -> ((ViewGroup) reborn.findViewById(R.id.rows)).getChildCount() > 0);
    }

    @Test
    public void aSharedPhotoFindsItsLike() {
        Intent send = new Intent(Intent.ACTION_SEND, null, app(), SearchActivity.class).setType("image/png");
        send.setClipData(ClipData.newRawUri(null, chelsea));
        Activity screen = open(SearchActivity.class, send).get();
        waitForTiles(screen, PHOTOS);
        assertEquals(screen.getString(R.string.like_title), screen.getTitle());
        ResultGrid found = (ResultGrid) ((GridView) screen.findViewById(R.id.grid)).getAdapter();
        assertEquals(ContentUris.parseId(chelsea), ContentUris.parseId(Uri.parse(MediaPath.uri(found.path(0)))));
    }

    @Test
    public void wordsAndAFilterRefineASearchByASharedPhoto() {
        Intent send = new Intent(Intent.ACTION_SEND, null, app(), SearchActivity.class).setType("image/png");
        send.setClipData(ClipData.newRawUri(null, chelsea));
        SearchActivity screen = open(SearchActivity.class, send).get();
        waitForTiles(screen, PHOTOS);
        GridView grid = screen.findViewById(R.id.grid);
        String plain = grid.getItemAtPosition(0).toString();
        ((TextView) screen.findViewById(R.id.query)).setText("a cup of coffee");
        waitFor("another score", () -> grid.getCount() == PHOTOS && !grid.getItemAtPosition(0).toString().equals(plain));
        for (String words : new String[] {"a cup of coffee", ""}) {
            ((TextView) screen.findViewById(R.id.query)).setText(words);
            waitForTiles(screen, PHOTOS);
            screen.searchDays(LocalDate.of(2001, 1, 1), LocalDate.of(2001, 1, 1));
            waitForTiles(screen, 0);
            screen.findViewById(R.id.time).performClick();
            waitForTiles(screen, PHOTOS);
        }
    }

    @Test
    public void aPhoneWithoutAPickerSaysSo() {
        Activity screen = open(SearchActivity.class).get();
        shadowOf(app()).checkActivities(true);
        shadowOf(screen).clickMenuItem(R.id.pick);
        assertEquals(screen.getString(R.string.no_app), ShadowToast.getTextOfLatestToast());
    }

    @Test
    public void aPhotoThatWasPickedOpensItsLikeOnAScreenOfItsOwn() {
        Activity screen = open(SearchActivity.class).get();
        shadowOf(screen).clickMenuItem(R.id.pick);
        Intent picker = shadowOf(screen).getNextStartedActivityForResult().intent;
        assertEquals("image/*", picker.getType());
        boolean own = Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU; // Android's own screen for it
        assertEquals(own ? MediaStore.ACTION_PICK_IMAGES : Intent.ACTION_GET_CONTENT, picker.getAction());
        assertEquals(!own, picker.hasCategory(Intent.CATEGORY_OPENABLE));
        shadowOf(screen).receiveResult(picker, Activity.RESULT_OK, new Intent().setData(chelsea));
        Intent next = nextSearch(screen);
        assertNotNull(next);
        waitForTiles(open(SearchActivity.class, next).get(), PHOTOS);
        assertFalse(screen.isFinishing());
    }

    @Test
    public void aPickerThatWasLeftChangesNothing() {
        Activity screen = open(SearchActivity.class).get();
        shadowOf(screen).clickMenuItem(R.id.pick);
        Intent picker = shadowOf(screen).getNextStartedActivityForResult().intent;
        shadowOf(screen).receiveResult(picker, Activity.RESULT_CANCELED, null);
        assertNull(nextSearch(screen));
    }

    /** The screen of ours that another has asked for; null if it has not. */
    private static Intent nextSearch(Activity screen) {
        Intent next = shadowOf(screen).getNextStartedActivity();
        while (next != null && next.getComponent() == null) {
            next = shadowOf(screen).getNextStartedActivity();
        }
        return next;
    }

    @Test
    @Config(minSdk = 34)
    public void morePhotosCanBeChosen() {
        shadowOf(app()).denyPermissions(PhotoAccess.READ_IMAGES, PhotoAccess.READ_VIDEO);
        allow(PhotoAccess.READ_SELECTED);
        Activity screen = open(SearchActivity.class).get();
        waitFor("the note", () -> isShown(screen, R.id.choose_more));
        screen.findViewById(R.id.choose_more).performClick();
        assertEquals(PhotoAccess.toRequest(34, true).length,
            shadowOf(screen).getLastRequestedPermission().requestedPermissions.length);
        take("flower.jpg");
        answer(screen);
        String left = screen.getResources().getQuantityString(R.plurals.left, 1, 1);
        waitFor("the one that is new", () -> text(screen, R.id.progress).contains(left));
    }

    @Test
    public void backLeavesEachScreen() {
        Activity photo = open(PhotoActivity.class,
            new Intent(app(), PhotoActivity.class).putExtra(PhotoActivity.PATH, search("a cat"))).get();
        photo.onBackPressed();
        assertTrue(photo.isFinishing());
        Activity numbers = open(NumbersActivity.class).get();
        numbers.onBackPressed();
        assertTrue(numbers.isFinishing());
    }
}
