package mcad.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.AlertDialog;
import android.app.DatePickerDialog;
import android.content.Intent;
import android.os.Build;
import android.view.MenuItem;
import android.widget.GridView;
import android.widget.TextView;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import mcad.gallery.PhotoAccess;
import mcad.platform.MediaSearch;
import mcad.robolectric.AppTestCase;
import org.junit.Test;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowAlertDialog;
import org.robolectric.shadows.ShadowDialog;

/** Screens that are turned, left and come back to. */
public final class ScreensTest extends AppTestCase {
    private ActivityController<SearchActivity> search;

    private void openSearch(String... names) throws IOException {
        allowPhotos();
        for (String name : names) {
            take(name);
        }
        index();
        search = open(SearchActivity.class);
        waitFor("the count", () -> !text(search.get(), R.id.progress).isEmpty());
    }

    private void choose(int item) {
        search.get().onOptionsItemSelected(new RoboMenuItem(item));
    }

    private void type(String words, int photos) {
        ((TextView) search.get().findViewById(R.id.query)).setText(words);
        GridView grid = search.get().findViewById(R.id.grid);
        waitFor("the tiles", () -> grid.getChildCount() == photos);
    }

    @Test
    public void upLeadsToTheSearchThatIsThere() throws IOException {
        openSearch("china.jpg");
        String path = search().search("a house", 1).results().get(0).path();
        Intent photo = new Intent(app(), PhotoActivity.class).putExtra(PhotoActivity.PATH, path);
        for (var screen : new ActivityController<?>[] {open(PhotoActivity.class, photo), open(NumbersActivity.class),
            open(AboutActivity.class)}) {
            MenuItem up = new RoboMenuItem(android.R.id.home);
            assertTrue(screen.get().onMenuItemSelected(android.view.Window.FEATURE_OPTIONS_PANEL, up));
            assertTrue(screen.get().isFinishing());
            assertNull("another search", shadowOf(app()).getNextStartedActivity());
        }
    }

    @Test
    public void foldersThatAreTickedSurviveATurn() throws IOException {
        openSearch("china.jpg");
        choose(R.id.albums);
        waitFor("the dialog", () -> ShadowAlertDialog.getLatestDialog() != null);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
        search.recreate();
        idle();
        AlertDialog turned = (AlertDialog) ShadowDialog.getLatestDialog();
        assertTrue(turned.isShowing());
        assertTrue(turned.getListView().isItemChecked(0));
        turned.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        assertTrue(isShown(search.get(), R.id.filtered));
        assertTrue(text(search.get(), R.id.filtered).contains("1 album"));
    }

    @Test
    public void foldersToIndexSurviveATurn() throws IOException {
        openSearch("china.jpg");
        choose(R.id.folders);
        waitFor("the dialog", () -> ShadowDialog.getLatestDialog() != null);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
        search.recreate();
        idle();
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        waitFor("the choice", () -> !search().chosenFolders().takes("DCIM/Camera"));
    }

    @Test
    public void theFirstOfTwoDaysSurvivesATurn() throws IOException {
        openSearch("china.jpg");
        choose(R.id.between);
        idle();
        ((DatePickerDialog) ShadowDialog.getLatestDialog()).updateDate(2001, 1, 3);
        ((DatePickerDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        search.recreate();
        idle();
        DatePickerDialog last = (DatePickerDialog) ShadowDialog.getLatestDialog();
        assertTrue(last.isShowing());
        last.updateDate(2002, 1, 3);
        last.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        assertTrue(text(search.get(), R.id.filtered), text(search.get(), R.id.filtered).contains("2001"));
    }

    @Test
    public void aRefusalIsKnownToTheNextProcess() throws ReflectiveOperationException {
        take("china.jpg");
        String[] permissions = PhotoAccess.toRequest(Build.VERSION.SDK_INT);
        search = open(SearchActivity.class);
        waitFor("the welcome", () -> isShown(search.get(), R.id.message_button));
        for (boolean explained : new boolean[] {true, false}) { // the second is for good
            search.get().findViewById(R.id.message_button).performClick();
            for (String permission : permissions) {
                shadowOf(app().getPackageManager()).setShouldShowRequestPermissionRationale(permission, explained);
            }
            answer(search.get());
            idle();
        }
        close(search);
        forget();
        search = open(SearchActivity.class);
        waitFor("the way to the settings",
            () -> text(search.get(), R.id.message_button).equals(app().getString(R.string.settings)));
    }

    @Test
    public void onePhotoIsOne() throws IOException {
        openSearch("china.jpg");
        assertEquals("1 photo can be searched", text(search.get(), R.id.progress));
        type("a house", 1);
        waitFor("the answer", () -> text(search.get(), R.id.status).equals("1 photo found"));
    }

    @Test
    public void aTileIsDescribedByItsDay() throws IOException {
        openSearch("china.jpg", "coffee.png");
        type("a cup of coffee", 2);
        GridView grid = search.get().findViewById(R.id.grid);
        waitFor("the day", () -> String.valueOf(grid.getChildAt(0).getContentDescription()).contains("taken on"));
        String description = grid.getChildAt(0).getContentDescription().toString();
        assertTrue(description, description.startsWith("Photo 1 of 2, taken on "));
        assertFalse(description, description.contains(".png") || description.contains("content:"));
    }

    @Test
    public void aRunCanBeStoppedAndContinuedOnTheScreen() throws IOException {
        openSearch("china.jpg");
        assertFalse(isShown(search.get(), R.id.stop));
        MediaSearch.stop(app());
        search.pause().resume();
        waitFor("the way on", () -> isShown(search.get(), R.id.go_on));
        assertTrue(text(search.get(), R.id.progress).contains(app().getString(R.string.stopped)));
        search.get().findViewById(R.id.go_on).performClick();
        startService();
        waitFor("the end of the stop", () -> MediaSearch.waiting(app()) == mcad.gallery.Waiting.NO);
        waitFor("the count", () -> !search().isIndexing());
        search.pause().resume();
        waitFor("no way on", () -> !isShown(search.get(), R.id.go_on));
    }

    @Test
    public void wordsRefineASearchByAPhoto() throws IOException {
        openSearch("china.jpg", "coffee.png", "chelsea.png");
        String path = search().search("a cat", 1).results().get(0).path();
        search = open(SearchActivity.class, new Intent(app(), SearchActivity.class).putExtra(SearchActivity.LIKE, path));
        GridView grid = search.get().findViewById(R.id.grid);
        waitFor("its like", () -> text(search.get(), R.id.status).equals("2 photos found"));
        waitFor("the hint", () -> app().getString(R.string.like_hint).contentEquals(
            ((TextView) search.get().findViewById(R.id.query)).getHint()));
        List<String> plain = scores(grid);
        ((TextView) search.get().findViewById(R.id.query)).setText("a cup of coffee");
        waitFor("other scores", () -> !scores(grid).equals(plain));
        assertEquals(2, grid.getCount());
        assertFalse(scores(grid).toString().contains(path + ","));
        assertEquals(app().getString(R.string.like_title), search.get().getTitle().toString());
        search.get().findViewById(R.id.clear).performClick();
        waitFor("its like alone", () -> scores(grid).equals(plain));
    }

    private static List<String> scores(GridView grid) {
        List<String> scores = new ArrayList<>();
        for (int i = 0; i < grid.getCount(); i++) {
            scores.add(grid.getItemAtPosition(i).toString());
        }
        return scores;
    }
}
