package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.DatePickerDialog;
import android.app.job.JobScheduler;
import android.content.ContentResolver;
import android.content.ContentUris;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.os.Looper;
import android.provider.MediaStore;
import android.provider.Settings;
import android.util.TypedValue;
import android.view.MenuItem;
import android.view.View;
import android.widget.Button;
import android.widget.DatePicker;
import android.widget.GridView;
import android.widget.ListView;
import android.widget.TextView;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.Folders;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.Waiting;
import io.github.mcadmobile.platform.IndexService;
import io.github.mcadmobile.platform.MediaSearch;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.LocalDate;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Stream;
import org.junit.Test;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.android.controller.ServiceController;
import org.robolectric.fakes.RoboMenuItem;
import org.robolectric.shadows.ShadowAlertDialog;
import org.robolectric.shadows.ShadowDialog;
import org.robolectric.util.ReflectionHelpers;

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
        search.get().findViewById(R.id.albums).performClick();
        waitFor("the dialog", () -> ShadowAlertDialog.getLatestDialog() != null);
        assertDialog(R.string.albums, "Camera (1)", false);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
        search.recreate();
        idle();
        AlertDialog turned = (AlertDialog) ShadowDialog.getLatestDialog();
        assertTrue(turned.isShowing());
        assertTrue(turned.getListView().isItemChecked(0));
        turned.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        assertEquals("Camera", text(search.get(), R.id.albums));
        search.get().searchFolders(Set.of("DCIM/Camera", "Pictures"));
        assertEquals("2 albums", text(search.get(), R.id.albums));
    }

    @Test
    public void foldersToIndexSurviveATurn() throws IOException {
        openSearch("china.jpg");
        choose(R.id.folders);
        waitFor("the dialog", () -> ShadowDialog.getLatestDialog() != null);
        assertDialog(R.string.folders, "Camera (1)", true);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
        search.recreate();
        idle();
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        waitFor("the choice", () -> !search().chosenFolders().takes("DCIM/Camera"));
        assertTrue(search().chosenFolders().takes("a new folder"));
        waitFor("a run for the choice", () -> shadowOf(app()).getNextStartedService() != null);
        choose(R.id.folders);
        waitFor("the dialog again", () -> ShadowDialog.getLatestDialog().isShowing());
        assertDialog(R.string.folders, "Camera (1)", false);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
        ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_NEUTRAL).performClick();
        waitFor("the other choice", () -> search().chosenFolders().takes("DCIM/Camera"));
        assertFalse(search().chosenFolders().takes("a new folder"));
    }

    @Test
    public void aFolderThatIsNotThereNowStaysLeftOut() throws IOException {
        openSearch("china.jpg");
        search().chooseFolders(new Folders(false, Set.of("Card")));
        askForFolders();
        touchFolder();
        button(AlertDialog.BUTTON_POSITIVE).performClick();
        waitFor("the choice", () -> !search().chosenFolders().takes("DCIM/Camera"));
        assertFalse(search().chosenFolders().takes("Card"));
        assertTrue(search().chosenFolders().takes("a new folder"));
    }

    @Test
    public void aFolderThatIsNotListedIsNotTakenOverByTheOtherKindOfChoice() throws IOException {
        openSearch("china.jpg");
        search().chooseFolders(new Folders(false, Set.of("Card")));
        askForFolders();
        button(AlertDialog.BUTTON_NEUTRAL).performClick();
        waitFor("only the ticked", () -> !search().chosenFolders().takes("a new folder"));
        assertFalse("it was left out", search().chosenFolders().takes("Card"));
        search().chooseFolders(new Folders(true, Set.of("Card")));
        choose(R.id.folders);
        waitFor("the dialog again", () -> ShadowDialog.getLatestDialog().isShowing());
        button(AlertDialog.BUTTON_POSITIVE).performClick();
        waitFor("all but the others", () -> search().chosenFolders().takes("a new folder"));
        assertTrue("it was chosen", search().chosenFolders().takes("Card"));
    }

    @Test
    public void onlyFoldersThatAreTickedCanBeChosenOnceOneIs() throws IOException {
        openSearch("china.jpg");
        search().chooseFolders(new Folders(true, Set.of("Card")));
        askForFolders();
        assertFalse(button(AlertDialog.BUTTON_NEUTRAL).isEnabled());
        touchFolder();
        assertTrue(button(AlertDialog.BUTTON_NEUTRAL).isEnabled());
        touchFolder();
        search.recreate();
        idle();
        assertFalse(button(AlertDialog.BUTTON_NEUTRAL).isEnabled());
        touchFolder();
        button(AlertDialog.BUTTON_NEUTRAL).performClick();
        waitFor("the choice", () -> search().chosenFolders().takes("DCIM/Camera"));
        assertTrue("a folder that is not there now", search().chosenFolders().takes("Card"));
        assertFalse(search().chosenFolders().takes("a new folder"));
    }

    private void askForFolders() {
        choose(R.id.folders);
        waitFor("the dialog", () -> ShadowDialog.getLatestDialog() != null);
    }

    private static void touchFolder() {
        ((AlertDialog) ShadowDialog.getLatestDialog()).getListView().performItemClick(null, 0, 0);
    }

    private static Button button(int which) {
        return ((AlertDialog) ShadowDialog.getLatestDialog()).getButton(which);
    }

    @Test
    public void aFolderThatIsLeftOutLeavesTheResultsAtOnce() throws IOException {
        photos.add(packaged("coffee.png"), PRIMARY, "Download/", "image/png", null);
        openSearch("china.jpg");
        type("a house", 2);
        waitFor("both", () -> answers(search.get(), 2));
        search.get().indexFolders(new Folders(false, Set.of("Download")));
        waitFor("the other photo", () -> answers(search.get(), 1));
        assertNotNull("a run that drops it", shadowOf(app()).getNextStartedService());
    }

    @Test
    public void albumsToSearchAreThoseThatAreIndexed() throws IOException {
        photos.add(packaged("coffee.png"), PRIMARY, "Download/", "image/png", null);
        photos.add(packaged("chelsea.png"), PRIMARY, "Pictures/", "image/png", null);
        openSearch("china.jpg");
        search().chooseFolders(new Folders(false, Set.of("Download")));
        search.get().findViewById(R.id.albums).performClick();
        waitFor("the dialog", () -> ShadowDialog.getLatestDialog() != null);
        ListView albums = ((AlertDialog) ShadowDialog.getLatestDialog()).getListView();
        assertEquals(2, albums.getCount());
        assertDialog(R.string.albums, "Camera (1)", false);
        assertEquals("Pictures (1)", albums.getItemAtPosition(1).toString());
    }

    @Test
    public void foldersThatAreReadAfterTheScreenWasLeftAreNotShown() throws Exception {
        openSearch("china.jpg");
        search.get().findViewById(R.id.albums).performClick();
        StartPageTest.awaitWorker();
        search.pause().stop().saveInstanceState(new Bundle());
        idle(); // Android throws if a dialog is shown now
        assertNull(ShadowDialog.getLatestDialog());
        search.start().resume();
        choose(R.id.folders);
        StartPageTest.awaitWorker();
        close(search);
        idle();
        assertNull(ShadowDialog.getLatestDialog());
    }

    private static void assertDialog(int title, String folder, boolean ticked) {
        AlertDialog dialog = (AlertDialog) ShadowDialog.getLatestDialog();
        assertEquals(app().getString(title), shadowOf(dialog).getTitle().toString());
        assertEquals(folder, dialog.getListView().getItemAtPosition(0).toString());
        assertEquals(ticked, dialog.getListView().isItemChecked(0));
    }

    @Test
    public void theFirstOfTwoDaysSurvivesATurn() throws IOException {
        openSearch("china.jpg");
        choose(search.get(), R.id.time, R.string.between);
        idle();
        assertAsks(R.string.first_day, LocalDate.now().minusDays(29));
        ((DatePickerDialog) ShadowDialog.getLatestDialog()).updateDate(2001, 1, 3);
        ((DatePickerDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        search.recreate();
        idle();
        DatePickerDialog last = (DatePickerDialog) ShadowDialog.getLatestDialog();
        assertTrue(last.isShowing());
        assertAsks(R.string.last_day, LocalDate.now());
        last.updateDate(2002, 1, 3);
        last.getButton(AlertDialog.BUTTON_POSITIVE).performClick();
        idle();
        assertFiltered("Feb 3, 2001 to Feb 3, 2002");
        search.get().findViewById(R.id.time).performClick();
        choose(search.get(), R.id.time, R.string.between);
        idle();
        for (int day : new int[] {9, 8}) { // a last day before the first is the first
            ((DatePickerDialog) ShadowDialog.getLatestDialog()).updateDate(2003, 11, day);
            ((DatePickerDialog) ShadowDialog.getLatestDialog()).getButton(AlertDialog.BUTTON_POSITIVE).performClick();
            idle();
        }
        assertFiltered("Dec 9, 2003 to Dec 9, 2003");
    }

    private static void assertAsks(int message, LocalDate proposed) {
        DatePickerDialog dialog = (DatePickerDialog) ShadowDialog.getLatestDialog();
        assertEquals(app().getString(message), ((TextView) dialog.findViewById(android.R.id.message)).getText().toString());
        DatePicker picker = dialog.getDatePicker();
        assertEquals(proposed, LocalDate.of(picker.getYear(), picker.getMonth() + 1, picker.getDayOfMonth()));
    }

    private void assertFiltered(String period) {
        TextView chip = search.get().findViewById(R.id.time);
        assertEquals(period, chip.getText().toString());
        assertTrue(chip.isSelected());
        assertEquals(period + ". Tap to remove this filter", chip.getContentDescription());
    }

    private static String day(LocalDate date) {
        return date.format(DateTimeFormatter.ofLocalizedDate(FormatStyle.MEDIUM));
    }

    @Test
    public void aPeriodIsSearchedUntilItsChipIsTouched() throws IOException {
        openSearch("china.jpg");
        photos.add(packaged("coffee.png"), PRIMARY, "DCIM/Camera/", "image/png", 981_200_000_000L); // 2001-02-03
        index();
        type("a house", 2);
        LocalDate now = LocalDate.now();
        choose(search.get(), R.id.time, R.string.last_week);
        assertFiltered("Since " + day(now.minusDays(6)));
        waitFor("the photo of today", () -> answers(search.get(), 1));
        search.get().findViewById(R.id.time).performClick();
        choose(search.get(), R.id.time, R.string.last_month);
        assertFiltered("Since " + day(now.minusDays(29)));
        search.get().findViewById(R.id.time).performClick();
        choose(search.get(), R.id.time, R.string.this_year);
        assertFiltered("Since " + day(now.withDayOfYear(1)));
        search.get().findViewById(R.id.time).performClick();
        choose(search.get(), R.id.time, R.string.last_year);
        LocalDate end = now.withDayOfYear(1).minusDays(1);
        assertFiltered(day(end.withDayOfYear(1)) + " to " + day(end));
        waitFor("none", () -> text(search.get(), R.id.status).equals(app().getString(R.string.nothing_found)));
        View chip = search.get().findViewById(R.id.time);
        chip.performClick();
        assertEquals("", text(search.get(), R.id.time));
        assertFalse(chip.isSelected());
        assertNull(chip.getContentDescription());
        waitFor("all", () -> answers(search.get(), 2));
    }

    @Test
    public void theMenuLeadsToOtherScreensAndKeepsWhatIsTicked() throws IOException, ReflectiveOperationException {
        photos.add(packaged("china.jpg"), PRIMARY, "Copies/", "image/jpeg", null);
        openSearch("china.jpg");
        assertEquals(app().getString(R.string.search_hint_english),
            ((TextView) search.get().findViewById(R.id.query)).getHint().toString());
        assertFalse("the note of chosen photos", isShown(search.get(), R.id.choose_more));
        type("a house", 1);
        press(R.id.show_numbers);
        assertEquals(NumbersActivity.class.getName(), shadowOf(search.get()).getNextStartedActivity().getComponent().getClassName());
        press(R.id.about);
        assertEquals(AboutActivity.class.getName(), shadowOf(search.get()).getNextStartedActivity().getComponent().getClassName());
        assertNull(shadowOf(app()).peekNextStartedService());
        press(R.id.index_now);
        assertNotNull(shadowOf(app()).getNextStartedService());
        assertTrue(isTicked(R.id.stack_duplicates) && !isTicked(R.id.only_charging));
        press(R.id.stack_duplicates);
        waitFor("both copies", () -> answers(search.get(), 2));
        press(R.id.only_charging);
        waitFor("the choice", () -> MediaSearch.isOnlyWhileCharging(app()));
        ActivityController<SearchActivity> above = open(SearchActivity.class);
        above.get().onOptionsItemSelected(new RoboMenuItem(R.id.stack_duplicates).setChecked(true));
        assertEquals("one choice for all screens", menu(above.get()).findItem(R.id.stack_duplicates).isChecked(),
            isTicked(R.id.stack_duplicates));
        close(above);
        close(search);
        forget();
        search = open(SearchActivity.class);
        waitFor("what was ticked", () -> !isTicked(R.id.stack_duplicates) && isTicked(R.id.only_charging));
        type("a house", 2);
        press(R.id.stack_duplicates);
        waitFor("one stack", () -> answers(search.get(), 1));
        press(R.id.only_charging);
        waitFor("the other choice", () -> !MediaSearch.isOnlyWhileCharging(app()));
        assertTrue(isTicked(R.id.stack_duplicates) && !isTicked(R.id.only_charging));
    }

    @Test
    public void copiesAreOneTileWithTheirNumberWhichOpensThemAll() throws IOException {
        long copy = ContentUris.parseId(photos.add(packaged("china.jpg"), PRIMARY, "Copies/", "image/jpeg", null));
        openSearch("china.jpg", "coffee.png");
        type("a house", 2);
        GridView grid = search.get().findViewById(R.id.grid);
        View stack = grid.getChildAt(0);
        assertEquals("2", ((TextView) stack.findViewById(R.id.copies)).getText().toString());
        assertFalse("a number on a single photo", grid.getChildAt(1).findViewById(R.id.copies).isShown());
        waitFor("the day", () -> String.valueOf(stack.getContentDescription()).contains("taken on"));
        assertTrue(stack.getContentDescription().toString().endsWith(", and 1 near duplicate"));
        grid.performItemClick(stack, 0, 0);
        Intent viewer = shadowOf(search.get()).getNextStartedActivity();
        List<String> paths = List.of(viewer.getStringArrayExtra(PhotoActivity.PATHS));
        assertEquals(3, paths.size());
        assertEquals(viewer.getStringExtra(PhotoActivity.PATH), paths.get(0));
        assertTrue(paths.subList(0, 2).stream().anyMatch(path -> ContentUris.parseId(Uri.parse(MediaPath.uri(path))) == copy));
    }

    private boolean isTicked(int item) {
        return menu(search.get()).findItem(item).isChecked();
    }

    private void press(int item) {
        search.get().onOptionsItemSelected(menu(search.get()).findItem(item));
    }

    @Test
    public void aSearchThatFailsSaysWhyAndIsTriedAgain() throws IOException {
        openSearch("china.jpg");
        photos.fail(new IllegalStateException("the provider died"));
        ((TextView) search.get().findViewById(R.id.query)).setText("a house");
        waitFor("the message", () -> isShown(search.get(), R.id.message_text));
        assertEquals("Something went wrong: the phone's photo library is not responding. Try again.", text(search.get(), R.id.message_text));
        assertEquals("Try again", text(search.get(), R.id.message_button));
        assertEquals("", text(search.get(), R.id.status));
        photos.fail(null);
        search.get().findViewById(R.id.message_button).performClick();
        waitFor("the answer", () -> answers(search.get(), 1));
        assertFalse(isShown(search.get(), R.id.message_text));
    }

    @Test
    public void theReasonOfASearchThatFailedStays() throws IOException, InterruptedException {
        openSearch("china.jpg");
        Intent unknown = new Intent(app(), SearchActivity.class)
            .putExtra(SearchActivity.LIKE, "content://media/external_primary/images/media/999");
        SearchActivity like = open(SearchActivity.class, unknown).get();
        waitFor("the reason", () -> isShown(like, R.id.message_text));
        for (int i = 0; i < 2; i++) { // the state of the index is shown after it, and at each photo of a run
            StartPageTest.awaitWorker();
            idle();
            assertTrue(isShown(like, R.id.message_text));
            index();
            waitFor("the wait of the watcher", () -> !isWaiting(like));
        }
        assertEquals(Messages.failure(app(), McadException.Kind.NOT_INDEXED), text(like, R.id.message_text));
    }

    private static boolean isWaiting(SearchActivity screen) {
        AtomicBoolean waiting = ReflectionHelpers.getField(ReflectionHelpers.getField(screen, "watcher"), "waiting");
        return waiting.get();
    }

    @Test
    public void otherWordsReplaceTheMessageOfASearchThatFailed() throws IOException {
        openSearch("china.jpg");
        photos.fail(new IllegalStateException("the provider died"));
        ((TextView) search.get().findViewById(R.id.query)).setText("a house");
        waitFor("the message", () -> isShown(search.get(), R.id.message_text));
        photos.fail(null);
        ((TextView) search.get().findViewById(R.id.query)).setText("a temple");
        waitFor("the answer", () -> answers(search.get(), 1));
        assertFalse(isShown(search.get(), R.id.message_text));
    }

    @Test
    public void theCountStandsThereUntilASearchAndAfterIt() throws IOException {
        openSearch("china.jpg");
        type("a house", 1);
        waitFor("the answer alone", () -> answers(search.get(), 1)
            && text(search.get(), R.id.progress).isEmpty());
        search.get().findViewById(R.id.clear).performClick();
        assertEquals("", text(search.get(), R.id.status));
        waitFor("the count", () -> text(search.get(), R.id.progress).equals("1 item can be searched"));
    }

    @Test
    public void aFirstRunThatFailedIsTriedAgainAtATouch() {
        allowPhotos();
        take("china.jpg");
        photos.fail(new IllegalStateException("the provider died"));
        assertThrows(IOException.class, () -> search().index());
        search = open(SearchActivity.class);
        waitFor("the message", () -> isShown(search.get(), R.id.message_text));
        assertEquals(Messages.failure(app(), McadException.Kind.PHOTOS), text(search.get(), R.id.message_text));
        assertEquals(app().getString(R.string.app_name), text(search.get(), R.id.message_title));
        assertEquals("Try again", text(search.get(), R.id.message_button));
        assertFalse(isShown(search.get(), R.id.message_folders));
        search.get().findViewById(R.id.message_button).performClick();
        assertNotNull("a run", shadowOf(app()).getNextStartedService());
        assertFalse(isShown(search.get(), R.id.message_button));
    }

    @Test
    public void aScreenThatIsLeftHearsOfNothingMore() throws IOException {
        openSearch("china.jpg");
        ContentResolver resolver = app().getContentResolver();
        Uri images = MediaStore.Images.Media.EXTERNAL_CONTENT_URI;
        waitFor("the watch", () -> shadowOf(resolver).getContentObservers(images).size() == 1);
        List<Runnable> listeners = ReflectionHelpers.getField(ReflectionHelpers.getField(search(), "indexer"), "listeners");
        assertEquals(1, listeners.size());
        search.pause();
        assertEquals(0, listeners.size());
        waitFor("no watch", () -> shadowOf(resolver).getContentObservers(images).isEmpty());
        search.resume();
        assertEquals(1, listeners.size());
        ExecutorService loaders = ReflectionHelpers.getField(
            ReflectionHelpers.getField(search.get(), "thumbnails"), "loaders");
        close(search);
        assertTrue(loaders.isShutdown());
        assertEquals(0, listeners.size());
    }

    @Test
    public void aPhotoThatIsTakenMeanwhileIsIndexed() throws IOException {
        openSearch("china.jpg");
        Uri images = MediaStore.Images.Media.EXTERNAL_CONTENT_URI;
        waitFor("the watch", () -> shadowOf(app().getContentResolver()).getContentObservers(images).size() == 1);
        JobScheduler jobs = app().getSystemService(JobScheduler.class);
        waitFor("jobs for later", () -> jobs.getAllPendingJobs().size() == 2);
        take("coffee.png");
        waitFor("the new photo", () -> text(search.get(), R.id.progress).equals("2 items can be searched"));
    }

    @Test
    public void aScreenThatWasLeftInTheMidstOfAChangeFollowsTheNext() throws IOException {
        openSearch("china.jpg");
        take("coffee.png");
        search().index(); // told to the screen, which shows it a quarter of a second later
        search.pause().resume();
        waitFor("the change", () -> text(search.get(), R.id.progress).equals("2 items can be searched"));
        take("chelsea.png");
        search().index();
        waitFor("the next", () -> text(search.get(), R.id.progress).equals("3 items can be searched"));
    }

    @Test
    public void photosThatAreTakenBeforeTheFirstRunOrInAPauseAreLeft() throws IOException, InterruptedException {
        allowPhotos();
        take("china.jpg");
        take("flower.jpg");
        search = open(SearchActivity.class);
        waitFor("the first run", () -> shadowOf(app()).peekNextStartedService() != null);
        Uri images = MediaStore.Images.Media.EXTERNAL_CONTENT_URI;
        waitFor("the watch", () -> shadowOf(app().getContentResolver()).getContentObservers(images).size() == 1);
        take("coffee.png");
        awaitFollower();
        assertEquals(0, search().photos());
        search().indexInstead(() -> true);
        MediaSearch.pause(app());
        take("chelsea.png");
        awaitFollower();
        assertEquals(3, search().photos());
    }

    private static void awaitFollower() throws InterruptedException {
        shadowOf(Looper.getMainLooper()).idleFor(Duration.ofSeconds(3));
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (thread.getName().equals("follow")) {
                thread.join();
            }
        }
    }

    @Test
    public void aQueryThatIsTooLongIsSaidToBeCutOff() throws IOException {
        openSearch("china.jpg");
        type("a house ".repeat(100), 1);
        waitFor("the note", () -> text(search.get(), R.id.status).equals(
            "Nearest photos\n" + app().getString(R.string.truncated)));
    }

    @Test
    public void wordsThatTheStudentCannotKnowAreNamed() throws IOException {
        openSearch("china.jpg");
        type("a \u0434\u043e\u043c and a \ud83d\udc36", 1);
        waitFor("the note", () -> text(search.get(), R.id.status).equals(
            "Nearest photos\nWords not understood: \u0434\u043e\u043c, \ud83d\udc36"));
    }

    @Test
    public void aDamagedIndexIsBuiltAgainBySearching() throws IOException {
        openSearch("china.jpg");
        assertEquals(1, search().search("a house", 1).results().size());
        try (Stream<Path> files = Files.walk(app().getNoBackupFilesDir().toPath())) {
            Path segment = files.filter(file -> file.toString().endsWith(".mcs")).findFirst().get();
            try (RandomAccessFile file = new RandomAccessFile(segment.toFile(), "rw")) {
                file.setLength(file.length() - 1);
            }
        }
        ((TextView) search.get().findViewById(R.id.query)).setText("a house");
        waitFor("a run", () -> shadowOf(app()).peekNextStartedService() != null);
        assertEquals(Messages.failure(app(), McadException.Kind.DAMAGED), text(search.get(), R.id.message_text));
        ServiceController<IndexService> service = startService();
        waitFor("the end of the service", () -> shadowOf(service.get()).isStoppedBySelf());
        assertEquals(1, search().search("a house", 1).results().size());
    }

    @Test
    public void aGridOfManyRowsStandsWhereItStoodBeforeATurn() throws IOException {
        SearchEngine.Found found = manyFound();
        GridView grid = search.get().findViewById(R.id.grid);
        showMiddle(grid, found);
        int first = grid.getFirstVisiblePosition();
        search.recreate();
        GridView turned = search.get().findViewById(R.id.grid);
        ((ResultGrid) turned.getAdapter()).show(found);
        waitFor("the same row", () -> turned.getFirstVisiblePosition() == first);
        ((ResultGrid) turned.getAdapter()).show(found);
        waitFor("the top, for the next search", () -> turned.getFirstVisiblePosition() == 0);
    }

    @Test
    public void anotherSearchBeginsAtItsBestPhotoAndTheSameAfterADeletionWhereItStood() throws IOException {
        SearchEngine.Found found = manyFound();
        GridView grid = search.get().findViewById(R.id.grid);
        ResultGrid results = (ResultGrid) grid.getAdapter();
        showMiddle(grid, found);
        assertTrue("touched", grid.isInTouchMode());
        int first = grid.getFirstVisiblePosition();
        CountDownLatch answer = new CountDownLatch(1);
        DemoApp.WORKER.submit(() -> answer.await(1, TimeUnit.MINUTES));
        search.get().onActivityResult(PhotoActions.TRASH, Activity.RESULT_OK, null);
        results.show(found);
        idle();
        assertEquals(first, grid.getFirstVisiblePosition());
        answer.countDown();
        waitFor("the answer", () -> results.getCount() == 1);
        showMiddle(grid, found);
        results.show(found);
        waitFor("the top", () -> grid.getFirstVisiblePosition() == 0);
    }

    /** One photo 300 times, after a search for it. */
    private SearchEngine.Found manyFound() throws IOException {
        openSearch("china.jpg");
        type("a house", 1);
        waitFor("the answer", () -> answers(search.get(), 1));
        List<SearchEngine.Result> many = Collections.nCopies(300, search().search("a house", 1).results().get(0));
        return new SearchEngine.Found(many, Map.of(), false, List.of());
    }

    private void showMiddle(GridView grid, SearchEngine.Found found) {
        ((ResultGrid) grid.getAdapter()).show(found);
        idle();
        grid.setSelection(150);
        waitFor("the middle", () -> grid.getFirstVisiblePosition() > 100);
    }

    /** A run that is held after its first photo is ended by the buttons of the screen. */
    @Test
    public void aRunIsPausedOrStoppedOnTheScreen() throws IOException, InterruptedException {
        openSearch("china.jpg");
        int[] buttons = {R.id.pause, R.id.stop};
        Waiting[] ends = {Waiting.PAUSED, Waiting.STOPPED};
        int[] says = {R.string.paused, R.string.stopped};
        for (int i = 0; i < buttons.length; i++) {
            CountDownLatch gate = new CountDownLatch(1);
            Thread run = new Thread(() -> {
                try {
                    search().indexInstead(() -> true);
                } catch (IOException error) {
                    throw new AssertionError(error);
                }
            });
            Runnable hold = () -> {
                if (Thread.currentThread() == run && search().indexing().isCounted()) {
                    try {
                        gate.await();
                    } catch (InterruptedException error) {
                        throw new AssertionError(error);
                    }
                }
            };
            take(i == 0 ? "coffee.png" : "chelsea.png");
            search().addListener(hold);
            run.start();
            int button = buttons[i];
            try {
                waitFor("the button", () -> isShown(search.get(), button));
                assertFalse(isShown(search.get(), R.id.go_on));
                search.get().findViewById(button).performClick();
            } finally { // a run that is held would hold the end of a test that fails
                search().removeListener(hold);
                gate.countDown();
            }
            run.join();
            Waiting end = ends[i];
            waitFor("the end", () -> MediaSearch.waiting(app()) == end);
            String said = app().getString(says[i]);
            search.pause().resume();
            waitFor("the way on", () -> isShown(search.get(), R.id.go_on)
                && text(search.get(), R.id.progress).contains(said));
            int[] month = new int[2];
            int[] goOn = new int[2];
            search.get().findViewById(R.id.month).getLocationOnScreen(month);
            search.get().findViewById(R.id.go_on).getLocationOnScreen(goOn);
            assertTrue("the month stands above its photos", month[1] > goOn[1]);
            assertFalse(isShown(search.get(), R.id.pause) || isShown(search.get(), R.id.stop));
        }
    }

    @Test
    public void aRefusalIsKnownToTheNextProcess() throws ReflectiveOperationException {
        take("china.jpg");
        String[] permissions = PhotoAccess.toRequest(Build.VERSION.SDK_INT, true);
        search = open(SearchActivity.class);
        waitFor("the welcome", () -> isShown(search.get(), R.id.message_button));
        search.get().findViewById(R.id.message_button).performClick();
        int request = shadowOf(search.get()).getLastRequestedPermission().requestCode;
        search.get().onRequestPermissionsResult(request, new String[0], new int[0]); // the dialog was left
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
        assertEquals(app().getString(R.string.denied), text(search.get(), R.id.message_text));
        search.get().findViewById(R.id.message_button).performClick();
        Intent settings = shadowOf(search.get()).getNextStartedActivity();
        assertEquals(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, settings.getAction());
        assertEquals("package:" + app().getPackageName(), settings.getDataString());
    }

    @Test
    public void onePhotoIsOne() throws IOException {
        openSearch("china.jpg");
        assertEquals("1 item can be searched", text(search.get(), R.id.progress));
        type("a house", 1);
        waitFor("the answer", () -> answers(search.get(), 1));
    }

    @Test
    public void photosOrVideosAreSearchedAlone() throws IOException {
        film("film.mp4", 40_000, "china.jpg", "rocket.jpg");
        openSearch("china.jpg", "coffee.png");
        assertEquals("3 items can be searched", text(search.get(), R.id.progress));
        type("a house", 3);
        choose(search.get(), R.id.kind, R.string.kind_videos);
        GridView grid = search.get().findViewById(R.id.grid);
        waitFor("the video", () -> answers(search.get(), 1));
        waitFor("its length", () -> text(grid.getChildAt(0)).equals("00:40"));
        assertEquals("Videos", text(search.get(), R.id.kind));
        search.recreate();
        waitFor("the filter", () -> text(search.get(), R.id.kind).equals("Videos"));
        search.get().findViewById(R.id.kind).performClick();
        choose(search.get(), R.id.kind, R.string.kind_photos);
        waitFor("the photos", () -> answers(search.get(), 2));
        assertEquals("Photos", text(search.get(), R.id.kind));
        search.get().findViewById(R.id.kind).performClick();
        waitFor("all", () -> answers(search.get(), 3));
        assertEquals("", text(search.get(), R.id.kind));
    }

    /** From Android 12 on, colours are those of the phone. */
    @Test
    public void coloursAreThePhonesWhereItHasThem() {
        for (String look : new String[] {"+notnight", "+night"}) {
            RuntimeEnvironment.setQualifiers(look);
            Activity screen = open(AboutActivity.class).get();
            boolean night = look.equals("+night");
            boolean dynamic = Build.VERSION.SDK_INT >= Build.VERSION_CODES.S;
            assertEquals(dynamic ? screen.getColor(night ? android.R.color.system_accent1_200 : android.R.color.system_accent1_600)
                : night ? 0xFF6FD6AE : 0xFF0B6E4F, screen.getColor(R.color.accent));
            assertEquals(dynamic ? screen.getColor(night ? android.R.color.system_neutral1_900 : android.R.color.system_neutral1_10)
                : night ? 0xFF121413 : 0xFFFBFAF7, screen.getColor(R.color.page));
            TypedValue accent = new TypedValue();
            assertTrue(screen.getTheme().resolveAttribute(android.R.attr.colorAccent, accent, true));
            assertEquals(screen.getColor(R.color.accent), accent.data);
        }
    }

    /** What a tile says of the length of a video. */
    private static String text(View tile) {
        TextView length = tile.findViewById(R.id.length);
        return length.isShown() ? length.getText().toString() : "";
    }

    @Test
    public void aTileIsDescribedByItsDay() throws IOException {
        openSearch("china.jpg", "coffee.png");
        type("a cup of coffee", 2);
        GridView grid = search.get().findViewById(R.id.grid);
        waitFor("the day", () -> String.valueOf(grid.getChildAt(0).getContentDescription()).contains("taken on"));
        String description = grid.getChildAt(0).getContentDescription().toString();
        assertTrue(description, description.matches("Photo, taken on .*, 1 of 2"));
        assertFalse(description, description.contains(".png") || description.contains("content:"));
    }

    @Test
    public void aTileThatIsUsedAgainIsDescribedAnew() throws Exception {
        openSearch("china.jpg", "coffee.png");
        type("a cup of coffee", 2);
        GridView grid = search.get().findViewById(R.id.grid);
        View tile = grid.getChildAt(0);
        // Of all: a thumbnail that is being loaded would be back at once.
        for (int number = 0; number < grid.getChildCount(); number++) {
            View shown = grid.getChildAt(number);
            waitFor("the day", () -> String.valueOf(shown.getContentDescription()).contains("taken on "));
        }
        forgetThumbnails();
        Thumbnails thumbnails = new Thumbnails(search.get()); // has loaded nothing yet
        ReflectionHelpers.setField(grid.getAdapter(), "thumbnails", thumbnails);
        assertSame(tile, grid.getAdapter().getView(1, tile, grid));
        assertEquals("Photo, 2 of 2", tile.getContentDescription().toString());
        thumbnails.close();
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
        waitFor("the end of the stop", () -> MediaSearch.waiting(app()) == Waiting.NO);
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
        waitFor("its like", () -> answers(search.get(), 2));
        waitFor("the hint", () -> app().getString(R.string.like_hint).contentEquals(
            ((TextView) search.get().findViewById(R.id.query)).getHint()));
        List<String> plain = scores(grid);
        ((TextView) search.get().findViewById(R.id.query)).setText("a cup of coffee");
        waitFor("other scores", () -> !scores(grid).equals(plain));
        assertEquals(2, grid.getCount());
        assertFalse(scores(grid).toString().contains(path + ","));
        assertEquals(app().getString(R.string.like_title), search.get().getTitle().toString());
        search.get().searchDays(LocalDate.of(2001, 1, 1), LocalDate.of(2001, 1, 1));
        waitFor("none of that day", () -> grid.getCount() == 0);
        search.get().findViewById(R.id.clear).performClick();
        waitFor("none like it of that day", () -> text(search.get(), R.id.status).equals(
            app().getString(R.string.nothing_found)) && grid.getCount() == 0);
        search.get().findViewById(R.id.time).performClick();
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
