package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.database.DataSetObserver;
import android.view.ViewGroup;
import android.view.inputmethod.EditorInfo;
import android.view.inputmethod.InputMethodManager;
import android.widget.AbsListView;
import android.widget.EditText;
import android.widget.GridView;
import android.widget.TextView;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.lang.reflect.Field;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.util.ReflectionHelpers;

/** What a search screen shows before one types. */
public final class StartPageTest extends AppTestCase {
    private ActivityController<SearchActivity> opened;
    private SearchActivity screen;

    @Before
    public void photographs() throws IOException {
        allowPhotos();
        take("chelsea.png", LocalDate.of(2021, 3, 9));
        take("coffee.png", LocalDate.of(2023, 5, 1));
        take("china.jpg", LocalDate.of(2022, 7, 4));
        index();
        opened = open(SearchActivity.class);
        screen = opened.get();
        waitFor("photos", () -> grid().getAdapter().getCount() == 3);
    }

    private void take(String name, LocalDate day) {
        long takenMs = day.atTime(12, 0).atZone(ZoneId.systemDefault()).toInstant().toEpochMilli();
        photos.add(packaged(name), PRIMARY, "DCIM/Camera/", "image/jpeg", takenMs);
    }

    private GridView grid() {
        return screen.findViewById(R.id.grid);
    }

    private List<String> words() {
        ViewGroup row = screen.findViewById(R.id.words);
        List<String> words = new ArrayList<>();
        for (int i = 0; i < row.getChildCount(); i++) {
            words.add(((TextView) row.getChildAt(i)).getText().toString());
        }
        return words;
    }

    private void search(String words) {
        EditText query = screen.findViewById(R.id.query);
        query.setText(words);
        query.onEditorAction(EditorInfo.IME_ACTION_SEARCH);
        waitFor("the answer", () -> answers(screen, ((GridView) screen.findViewById(R.id.grid)).getCount()));
    }

    @Test
    public void theLatestPhotosStandThereWithTheirMonth() {
        assertEquals("May 2023", text(screen, R.id.month));
        List<String> names = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            String path = ((SearchEngine.Result) grid().getAdapter().getItem(i)).path();
            names.add(photos.rows().stream().filter(row -> path.contains("/" + row.id())).findFirst().get().name());
        }
        assertEquals(List.of("coffee.png", "china.jpg", "chelsea.png"), names);
        AbsListView.OnScrollListener scrolled = ReflectionHelpers.getField(grid(), "mOnScrollListener");
        scrolled.onScroll(grid(), 1, 2, 3);
        assertEquals("July 2022", text(screen, R.id.month));
        search("a cat");
        assertFalse(isShown(screen, R.id.month));
    }

    @Test
    public void theLatestPhotosAreThoseOfTheFilter() {
        screen.searchDays(LocalDate.of(2022, 1, 1), LocalDate.of(2022, 12, 31));
        waitFor("one of three", () -> grid().getAdapter().getCount() == 1);
        assertEquals("July 2022", text(screen, R.id.month));
        screen.searchDays(LocalDate.of(2019, 1, 1), LocalDate.of(2019, 12, 31));
        waitFor("none", () -> grid().getAdapter().getCount() == 0);
        assertFalse(isShown(screen, R.id.month));
    }

    @Test
    public void photosTakenMeanwhileStandThereOnTheReturn() {
        opened.pause();
        take("flower.jpg", LocalDate.of(2024, 1, 7));
        opened.resume();
        waitFor("the new photo", () -> grid().getAdapter().getCount() == 4);
        assertEquals("January 2024", text(screen, R.id.month));
    }

    @Test
    public void photosThatAreTheSameStandAsTheyStoodOnTheReturn() throws InterruptedException {
        waitFor("examples", () -> words().size() >= 3);
        grid().getAdapter().registerDataSetObserver(new DataSetObserver() {
            @Override
            public void onChanged() {
                throw new AssertionError("all tiles are drawn anew");
            }
        });
        opened.pause().resume();
        for (int i = 0; i < 2; i++) { // the state of the index, then the photos
            awaitWorker();
            idle();
        }
        assertEquals(3, grid().getAdapter().getCount());
    }

    @Test
    public void examplesAreShownAsSoonAsTheyAreFound() throws Exception {
        close(opened);
        awaitWorker();
        Field examples = StartPage.class.getDeclaredField("examples"); // of the process
        examples.setAccessible(true);
        examples.set(null, List.of());
        RuntimeEnvironment.setQualifiers("+de"); // the student reads English alone
        screen = keep(Robolectric.buildActivity(SearchActivity.class).create()).get(); // asks for nothing by itself
        ResultGrid grid = new ResultGrid(screen, grid(), new Thumbnails(screen), null);
        new StartPage(screen, search(), grid, words -> { }).show(Filter.ALL);
        waitFor("examples", () -> words().size() >= 3);
        RuntimeEnvironment.setQualifiers("+en");
        List<String> english = List.of(app().getResources().getStringArray(R.array.examples));
        assertTrue(words().toString(), english.containsAll(words()));
    }

    static void awaitWorker() throws InterruptedException {
        CountDownLatch idle = new CountDownLatch(1);
        DemoApp.WORKER.execute(idle::countDown);
        idle.await();
    }

    @Test
    public void aPageThatWasHiddenMeanwhileIsNotShown() throws InterruptedException {
        close(opened);
        screen = keep(Robolectric.buildActivity(SearchActivity.class).create()).get();
        StartPage page = new StartPage(screen, search(), new ResultGrid(screen, grid(), new Thumbnails(screen), null),
            words -> { });
        page.show(Filter.ALL);
        page.hide();
        awaitWorker();
        idle();
        assertEquals(0, grid().getAdapter().getCount());
        assertTrue(words().isEmpty());
        page.show(Filter.ALL);
        waitFor("the photos", () -> grid().getAdapter().getCount() == 3);
    }

    @Test
    public void aYearInTheWordsIsAFilterThatATouchRemoves() {
        EditText query = screen.findViewById(R.id.query);
        query.setText("a house 2022");
        waitFor("the photo of that year", () -> answers(screen, 1));
        assertEquals("2022", text(screen, R.id.time));
        screen.findViewById(R.id.time).performClick();
        waitFor("all", () -> answers(screen, 3));
        assertEquals("", text(screen, R.id.time));
        query.setText("May 2023");
        waitFor("that month", () -> text(screen, R.id.status).equals("1 result"));
        assertEquals("May 2023", text(screen, R.id.time));
        screen.findViewById(R.id.clear).performClick();
        assertEquals("", text(screen, R.id.time));
        screen.searchDays(LocalDate.of(2021, 1, 1), LocalDate.of(2022, 12, 31));
        query.setText("a house 2022");
        waitFor("those of the chosen days", () -> answers(screen, 2));
    }

    @Test
    public void examplesThatWorkOnThesePhotosAreATouchAway() {
        waitFor("examples", () -> words().size() >= 3);
        assertTrue(words().size() <= 5);
        String example = words().get(0);
        ((ViewGroup) screen.findViewById(R.id.words)).getChildAt(0).performClick();
        assertEquals(example, text(screen, R.id.query));
        assertEquals("more can be typed", example.length(), ((EditText) screen.findViewById(R.id.query)).getSelectionEnd());
        waitFor("the answer", () -> answers(screen, ((GridView) screen.findViewById(R.id.grid)).getCount()));
        assertTrue(words().isEmpty());
    }

    @Test
    public void wordsThatFoundAPhotoWorthOpeningAreKnown() {
        ((EditText) screen.findViewById(R.id.query)).setText("a cup on a table");
        waitFor("the answer", () -> answers(screen, ((GridView) screen.findViewById(R.id.grid)).getCount()));
        grid().performItemClick(grid().getChildAt(0), 0, 0);
        screen.findViewById(R.id.clear).performClick();
        waitFor("the history", () -> words().contains("a cup on a table"));
    }

    @Test
    public void whatWasSearchedForIsKnownUntilItIsForgotten() throws ReflectiveOperationException {
        search("a cat on a sofa");
        assertTrue(isShown(screen, R.id.clear));
        screen.findViewById(R.id.clear).performClick();
        assertEquals("", text(screen, R.id.query));
        assertFalse(isShown(screen, R.id.clear));
        waitFor("the history", () -> words().contains("a cat on a sofa"));
        assertEquals(3, grid().getAdapter().getCount());
        search("  a cat on a sofa ");
        for (String words : new String[] {"1", "2", "3", "4", "5", "6", "7", "8", "9", " 3 ", " "}) {
            EditText query = screen.findViewById(R.id.query);
            query.setText(words);
            query.onEditorAction(EditorInfo.IME_ACTION_SEARCH);
        }
        assertFalse(shadowOf(app().getSystemService(InputMethodManager.class)).isSoftInputVisible());
        close(opened);
        forget();
        screen = open(SearchActivity.class).get();
        waitFor("the last eight in the next process",
            () -> words().size() >= 8 && words().subList(0, 8).equals(List.of("3", "9", "8", "7", "6", "5", "4", "2")));
        search("a cat on a sofa");
        screen.findViewById(R.id.clear).performClick();
        waitFor("the history", () -> words().indexOf("a cat on a sofa") == 0);
        screen.onOptionsItemSelected(new RoboMenuItem(R.id.forget));
        waitFor("no history", () -> !words().contains("a cat on a sofa"));
    }
}
