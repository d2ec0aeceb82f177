package io.github.mcadmobile.demo;

import static org.junit.Assert.assertTrue;
import static org.junit.Assume.assumeTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.graphics.Rect;
import android.graphics.drawable.BitmapDrawable;
import android.net.Uri;
import android.os.Build;
import android.os.PowerManager;
import android.view.View;
import android.view.ViewGroup;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.platform.MediaSearch;
import io.github.mcadmobile.robolectric.AppTestCase;
import io.github.mcadmobile.robolectric.Picture;
import io.github.mcadmobile.robolectric.Walk;
import java.io.IOException;
import java.time.LocalDate;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.junit.Test;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.annotation.Config;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowDialog;
import org.robolectric.shadows.SystemBars;

/** Every screen and dialog as a picture, in each look that users choose. */
public final class PicturesTest extends AppTestCase {
    private static final String PHONE = "w411dp-h891dp-xhdpi";
    private static final String[] PHOTOS = {"astronaut.png", "camera.png", "chelsea.png", "china.jpg", "coffee.png",
        "coins.png", "flower.jpg", "grace_hopper.jpg", "hubble_deep_field.jpg", "motorcycle_left.png", "rocket.jpg"};

    private final Set<String> faults = new TreeSet<>();
    private String look;

    @Test
    public void light() throws IOException {
        drawAll("light", PHONE, 1);
    }

    /** Other colours of what {@link #light} has looked at. */
    @Test
    public void dark() throws IOException {
        assumeTrue(Picture.areKept());
        drawAll("dark", "w411dp-h891dp-night-xhdpi", 1);
    }

    @Test
    public void rightToLeft() throws IOException {
        drawAll("right-to-left", "ar-" + PHONE, 1);
    }

    @Test
    public void largeFont() throws IOException {
        drawAll("large-font", PHONE, 2);
    }

    @Test
    public void tablet() throws IOException {
        drawAll("tablet", "w1280dp-h800dp-land-mdpi", 1);
    }

    /** What users see more rarely, upright, and on its side in the largest font. */
    @Test
    public void rareStates() throws IOException {
        look = "rare";
        RuntimeEnvironment.setQualifiers(PHONE);
        SystemBars.show();
        allowPhotos();
        for (String photo : PHOTOS) {
            take(photo);
        }
        index();
        rareStates("");
        RuntimeEnvironment.setQualifiers("w891dp-h411dp-land-xhdpi");
        RuntimeEnvironment.setFontScale(2);
        rareStates("-landscape");
        assertTrue(String.join("\n", faults), faults.isEmpty());
    }

    private void rareStates(String suffix) throws IOException {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        GridView grid = activity.findViewById(R.id.grid);
        TextView query = activity.findViewById(R.id.query);
        query.setText("a \u0434\u043e\u043c on a hill 2026");
        waitFor("the note", () -> text(activity, R.id.status).contains("\u0434\u043e\u043c"));
        waitForPictures(grid);
        save(activity, "unknown-words" + suffix);
        activity.searchDays(LocalDate.of(2020, 1, 1), LocalDate.now());
        waitFor("the filter", () -> answers(activity, PHOTOS.length));
        grid.setItemChecked(1, true);
        waitForPictures(grid);
        save(activity, "filter-and-selection" + suffix);
        grid.setItemChecked(1, false);
        query.setText("");
        MediaSearch.pause(app());
        screen.pause().resume();
        waitFor("the pause", () -> isShown(activity, R.id.go_on));
        save(activity, "paused" + suffix);
        MediaSearch.stop(app());
        screen.pause().resume();
        waitFor("the end", () -> text(activity, R.id.progress).contains(activity.getString(R.string.stopped)));
        save(activity, "stopped" + suffix);
        photos.fail(new IllegalStateException("the provider died"));
        query.setText("a house");
        waitFor("the failure", () -> isShown(activity, R.id.message_text));
        save(activity, "failed" + suffix);
        photos.fail(null);
        close(screen);
        app().getSharedPreferences("photo-search", Context.MODE_PRIVATE).edit().clear().commit();
    }

    /** Android 14 lets the user choose photos. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.UPSIDE_DOWN_CAKE)
    public void chosenPhotos() throws IOException {
        look = "rare";
        RuntimeEnvironment.setQualifiers(PHONE);
        RuntimeEnvironment.setFontScale(2);
        SystemBars.show();
        allow(PhotoAccess.READ_SELECTED);
        take("china.jpg");
        index();
        SearchActivity activity = open(SearchActivity.class).get();
        waitFor("the note", () -> isShown(activity, R.id.choose_more));
        waitFor("the photo", () -> ((GridView) activity.findViewById(R.id.grid)).getChildCount() == 1);
        waitForPictures(activity.findViewById(R.id.grid));
        save(activity, "chosen-photos");
        assertTrue(String.join("\n", faults), faults.isEmpty());
    }

    private void drawAll(String name, String qualifiers, float font) throws IOException {
        look = name;
        RuntimeEnvironment.setQualifiers(qualifiers);
        RuntimeEnvironment.setFontScale(font);
        SystemBars.show();
        beforeAccess();
        beforeIndex();
        indexing();
        searches();
        words();
        onePhoto("photo", photos.rows().get(0).id(), "/images/media/%d");
        onePhoto("video", photos.rows().get(PHOTOS.length + 1).id(), "/video/media/%d#t=38.285");
        numbers();
        about();
        assertTrue(String.join("\n", faults), faults.isEmpty());
    }

    /** A picture of what is shown, of which nothing is cut or without words. */
    private void save(Activity screen, String name) throws IOException {
        Picture.save(screen, look, name);
        for (View window : Picture.windows(screen)) {
            for (String fault : Walk.faults(window)) {
                faults.add(look + ", " + name + ": " + fault);
            }
        }
    }

    private void beforeAccess() throws IOException {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        waitFor("the welcome", () -> isShown(activity, R.id.message_button));
        save(activity, "welcome");
        for (int refusals = 0; refusals < 2; refusals++) {
            activity.findViewById(R.id.message_button).performClick();
            answer(activity);
        }
        waitFor("the refusal", () -> text(activity, R.id.message_button).equals(activity.getString(R.string.settings)));
        save(activity, "refused");
        close(screen);
    }

    private void beforeIndex() throws IOException {
        allowPhotos();
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        waitFor("an empty phone", () -> text(activity, R.id.message_text).equals(activity.getString(R.string.no_photos)));
        save(activity, "no-photos");
        for (String photo : PHOTOS) {
            take(photo);
        }
        take("coffee.png"); // on a stack with the other
        film("film.mp4", 67_000, "china.jpg", "coins.png");
        search().count();
        close(screen);
        MediaSearch.stop(app());
        ActivityController<SearchActivity> again = open(SearchActivity.class);
        waitFor("photos", () -> isShown(again.get(), R.id.message)
            && !text(again.get(), R.id.message_text).equals(again.get().getString(R.string.no_photos)));
        save(again.get(), "not-indexed");
        close(again);
        app().getSharedPreferences("photo-search", Context.MODE_PRIVATE).edit().clear().commit(); // not stopped any more
    }

    private void indexing() throws IOException {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
            shadowOf(app().getSystemService(PowerManager.class))
                .setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE);
            Thread run = new Thread(() -> {
                try {
                    search().indexInstead(() -> true); // of an estimate that is on
                } catch (IOException error) {
                    throw new AssertionError(error);
                }
            });
            run.start();
            waitFor("a rest, after " + text(activity, R.id.progress), () -> !run.isAlive() || text(activity, R.id.progress).contains(activity.getString(R.string.resting)));
            save(activity, "resting");
            shadowOf(app().getSystemService(PowerManager.class))
                .setCurrentThermalStatus(PowerManager.THERMAL_STATUS_NONE);
            waitFor("the end of the run", () -> !run.isAlive());
        } else {
            search().indexInstead(() -> true);
        }
        String count = activity.getResources().getQuantityString(R.plurals.indexed, PHOTOS.length + 2, PHOTOS.length + 2);
        waitFor("the count", () -> text(activity, R.id.progress).contains(count));
        save(activity, "before-a-search");
        close(screen);
    }

    private void searches() throws IOException {
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        GridView grid = activity.findViewById(R.id.grid);
        ((TextView) activity.findViewById(R.id.query)).setText("a cup of coffee");
        // Until then the grid shows the recent photos.
        String searching = activity.getString(R.string.searching);
        waitFor("the results", () -> !text(activity, R.id.status).isEmpty()
                && !text(activity, R.id.status).equals(searching));
        waitFor("the photos", () -> grid.getChildCount() == PHOTOS.length + 1);
        waitForPictures(grid);
        assertTrue("the first tile is a stack", grid.getChildAt(0).findViewById(R.id.copies).isShown());
        save(activity, "found");
        activity.findViewById(R.id.albums).performClick();
        saveDialog(activity, "albums");
        shadowOf(activity).clickMenuItem(R.id.folders);
        saveDialog(activity, "folders");
        choose(activity, R.id.time, R.string.between);
        saveDialog(activity, "first-day");
        more(activity.getWindow().getDecorView()).performClick();
        waitFor("the menu", () -> Picture.windows(activity).size() > 1);
        save(activity, "menu");
        close(screen);
    }

    private void words() throws IOException {
        Uri ticket = Uri.parse("content://media/" + PRIMARY + "/images/media/" + photos.rows().get(7).id());
        read(ticket, new PhotoWords(List.of(new PhotoWords.Line("Rear Admiral G. Hopper, boarding pass",
            List.of(5600, 3000, 9500, 2900, 9500, 3300, 5600, 3400))), List.of("Lisbon"), true));
        ActivityController<SearchActivity> screen = open(SearchActivity.class);
        SearchActivity activity = screen.get();
        GridView grid = activity.findViewById(R.id.grid);
        ((TextView) activity.findViewById(R.id.query)).setText("boarding pass");
        waitFor("the reason", () -> grid.getChildCount() > 0 && grid.getChildAt(0).findViewById(R.id.matched).isShown());
        waitForPictures(grid);
        save(activity, "found-by-words");
        activity.findViewById(R.id.place).performClick();
        saveDialog(activity, Build.VERSION.SDK_INT < Build.VERSION_CODES.Q ? "place" : "places-off");
        allow("android.permission.ACCESS_MEDIA_LOCATION");
        activity.findViewById(R.id.place).performClick();
        saveDialog(activity, "place");
        grid.performItemClick(grid.getChildAt(0), 0, 0);
        PhotoActivity viewer = open(PhotoActivity.class, shadowOf(activity).getNextStartedActivity()).get();
        waitFor("the photo", () -> ((ImageView) viewer.findViewById(R.id.photo)).getDrawable() != null);
        save(viewer, "text");
        close(screen);
    }

    /** The three dots, whose name is in the language of the phone. */
    private static View more(View in) {
        if (in.getClass().getSimpleName().equals("OverflowMenuButton")) {
            return in;
        }
        View found = null;
        for (int i = 0; found == null && in instanceof ViewGroup group && i < group.getChildCount(); i++) {
            found = more(group.getChildAt(i));
        }
        return found;
    }

    private void saveDialog(SearchActivity activity, String name) throws IOException {
        waitFor(name, () -> ShadowDialog.getLatestDialog() != null && ShadowDialog.getLatestDialog().isShowing());
        idle();
        save(activity, name);
        ShadowDialog.getLatestDialog().dismiss();
        idle();
    }

    private static void waitForPictures(GridView grid) {
        for (int i = 0; i < grid.getChildCount(); i++) {
            ImageView tile = grid.getChildAt(i).findViewById(R.id.picture);
            waitFor("thumbnail " + i, () -> tile.getDrawable() instanceof BitmapDrawable shown
                && shown.getBitmap() != null);
        }
    }

    private void onePhoto(String name, long id, String row) throws IOException {
        String path = "content://media/" + PRIMARY + String.format(row, id);
        ActivityController<PhotoActivity> screen = open(PhotoActivity.class,
            new Intent(app(), PhotoActivity.class).putExtra(PhotoActivity.PATH, path));
        ImageView photo = screen.get().findViewById(R.id.photo);
        waitFor("the photo", () -> photo.getDrawable() != null);
        for (int button : new int[] {R.id.share, R.id.like}) {
            View shown = screen.get().findViewById(button);
            Rect seen = new Rect();
            assertTrue(look, shown.getGlobalVisibleRect(seen) && seen.width() == shown.getWidth());
        }
        save(screen.get(), name);
        screen.get().onOptionsItemSelected(new RoboMenuItem(R.id.show_info));
        idle();
        save(screen.get(), name + "-info");
        close(screen);
    }

    private void about() throws IOException {
        ActivityController<AboutActivity> screen = open(AboutActivity.class);
        waitFor("the licences", () -> Walk.spoken(screen.get().getWindow().getDecorView()).contains("Apache"));
        Picture.save(screen.get(), look, "about"); // others' licences are as they are
        close(screen);
    }

    private void numbers() throws IOException {
        ActivityController<NumbersActivity> screen = open(NumbersActivity.class);
        ViewGroup rows = screen.get().findViewById(R.id.rows);
        waitFor("the numbers", () -> rows.getChildCount() > 0);
        save(screen.get(), "numbers");
        close(screen);
    }
}
