package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import android.app.Activity;
import android.os.Build;
import android.view.ViewGroup;
import android.view.inputmethod.EditorInfo;
import android.widget.EditText;
import android.widget.ListView;
import android.widget.TextView;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.gallery.Home;
import io.github.mcadmobile.gallery.Indexing;
import io.github.mcadmobile.gallery.Timings;
import io.github.mcadmobile.gallery.Waiting;
import io.github.mcadmobile.robolectric.AppTestCase;
import io.github.mcadmobile.sample.SampleActivity;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.Test;

/** What screens of words say: measured numbers, others' licences, and the answer of the smallest app. */
public final class TextsTest extends AppTestCase {
    private static String rung(Ladder.LoadedRung loaded) {
        return loaded.tower().rung.runtime() + " " + loaded.tower().rung.precision();
    }

    @Test
    public void theNumbersAreOfWhatRunsHere() throws IOException {
        allowPhotos();
        take("chelsea.png");
        take("coffee.png");
        index();
        search().search("a cat", 1);
        NumbersActivity screen = open(NumbersActivity.class).get();
        ViewGroup list = screen.findViewById(R.id.rows);
        waitFor("the numbers", () -> list.getChildCount() > 0);
        Map<String, String> rows = new HashMap<>();
        for (int i = 0; i < list.getChildCount(); i++) {
            rows.put(text(list, i, R.id.name), text(list, i, R.id.value));
        }
        String text = rows.get(app().getString(R.string.rung_text));
        assertTrue(text, text.startsWith(rung(search().textTower())));
        String image = rows.get(app().getString(R.string.rung_image));
        assertTrue(image, image.startsWith(rung(search().imageTower())));
        String photos = rows.get(app().getString(R.string.photos_indexed));
        assertTrue(photos, photos.startsWith("2"));
        assertEquals("2, " + Math.round(search().bytesPerPhoto()) + " bytes each", photos);
        assertEquals(search().bundle().name, rows.get(app().getString(R.string.bundle)));
        Map<String, Integer> stages = Map.of("tokenize", R.string.stage_tokenize, "text", R.string.stage_text,
            "scan", R.string.stage_scan, "rescore", R.string.stage_rescore, "total", R.string.stage_total,
            "decode", R.string.stage_decode, "image", R.string.stage_image);
        Timings timings = search().timings;
        stages.forEach((stage, name) -> assertEquals(app().getString(R.string.stage_value, timings.percentile(stage, 50),
            timings.percentile(stage, 90), timings.count(stage)), rows.get(app().getString(name))));
        assertEquals(app().getString(R.string.device_value, Build.MANUFACTURER, Build.MODEL, Build.VERSION.RELEASE),
            rows.get(app().getString(R.string.device)));
        assertTrue(rows.get(app().getString(R.string.memory)).matches("[1-9]\\d* MiB \\(PSS\\), [1-9]\\d* MiB resident"));
        String cosine = String.format("self-test cosine %.4f", search().textTower().cosine());
        assertTrue(text, text.contains(cosine));
        assertFalse(isShown(screen, R.id.try_rungs));
    }

    @Test
    public void anIndexThatCannotBeReadIsNamedAsAnErrorAmongTheNumbers() throws Exception {
        allowPhotos();
        take("chelsea.png");
        index();
        search().close();
        forget();
        try (Stream<Path> files = Files.walk(app().getNoBackupFilesDir().toPath())) {
            Files.write(files.filter(file -> file.toString().endsWith(".mcs")).findFirst().get(), new byte[9]);
        }
        ViewGroup list = open(NumbersActivity.class).get().findViewById(R.id.rows);
        waitFor("the rows", () -> list.getChildCount() > 0);
        int last = list.getChildCount() - 1;
        assertEquals("Error", text(list, last, R.id.name));
        assertEquals(Messages.failure(app(), McadException.Kind.DAMAGED), text(list, last, R.id.value));
    }

    @Test
    public void aRungThatTheAppDiedOverIsTriedAgainAtATouch() throws IOException {
        search().textTower().skipped().add(new Ladder.Skipped("onnx fp16 by CPU", Ladder.Reason.DIED, "", true)); // the app has one
        Path died = Files.createFile(app().getNoBackupFilesDir().toPath().resolve("photo-search/rungs/rungs.json"));
        NumbersActivity screen = open(NumbersActivity.class).get();
        waitFor("the button", () -> isShown(screen, R.id.try_rungs));
        String why = app().getString(R.string.rung_skipped, "onnx fp16 by CPU", app().getString(R.string.why_died));
        assertTrue(textRung(screen), textRung(screen).endsWith("\n" + why));
        screen.findViewById(R.id.try_rungs).performClick();
        assertFalse(isShown(screen, R.id.try_rungs));
        waitFor("another try", () -> !textRung(screen).contains(why));
        assertFalse(Files.exists(died));
        assertFalse(isShown(screen, R.id.try_rungs));
    }

    private static String textRung(Activity screen) {
        ViewGroup list = screen.findViewById(R.id.rows);
        int row = 0;
        while (!text(list, row, R.id.name).equals(app().getString(R.string.rung_text))) {
            row++;
        }
        return text(list, row, R.id.value);
    }

    private static String text(ViewGroup list, int row, int id) {
        return ((TextView) list.getChildAt(row).findViewById(id)).getText().toString();
    }

    @Test
    public void licencesStandUnderTheNamesOfTheirFiles() throws IOException {
        ListView list = open(AboutActivity.class).get().findViewById(R.id.texts);
        waitFor("the texts", () -> list.getAdapter() != null);
        List<String> rows = new ArrayList<>();
        for (int i = 0; i < list.getAdapter().getCount(); i++) {
            rows.add((String) list.getAdapter().getItem(i));
        }
        assertEquals(licences("mcad-licences"), rows);
    }

    /** The files of a folder of the assets: the path of each, then its paragraphs. */
    private static List<String> licences(String path) throws IOException {
        List<String> rows = new ArrayList<>();
        String[] inside = app().getAssets().list(path);
        for (String name : inside) {
            rows.addAll(licences(path + "/" + name));
        }
        if (inside.length == 0) {
            rows.add(path.replace("mcad-licences/", ""));
            String text = new String(app().getAssets().open(path).readAllBytes(), StandardCharsets.UTF_8);
            for (String paragraph : text.replaceFirst("\\A(\\s*\n)+", "").split("\n(?:\\s*\n)+")) {
                rows.add(String.join("\n", paragraph.lines().toList()));
            }
        }
        return rows;
    }

    @Test
    public void eachFailureHasItsOwnWords() {
        Map<McadException.Kind, Integer> kinds = new EnumMap<>(Map.of(McadException.Kind.ACCESS, R.string.error_access,
            McadException.Kind.PHOTOS, R.string.error_photos, McadException.Kind.BUNDLE, R.string.error_bundle,
            McadException.Kind.TOWER, R.string.error_tower, McadException.Kind.INDEX, R.string.error_index,
            McadException.Kind.DAMAGED, R.string.error_damaged, McadException.Kind.STORAGE, R.string.error_storage,
            McadException.Kind.NOT_INDEXED, R.string.error_not_indexed, McadException.Kind.OTHER, R.string.error_other));
        for (McadException.Kind kind : McadException.Kind.values()) {
            assertEquals("Something went wrong: " + app().getString(kinds.get(kind)), Messages.failure(app(), kind));
        }
        Map<Ladder.Reason, Integer> reasons = Map.of(Ladder.Reason.NO_RUNTIME, R.string.why_no_runtime,
            Ladder.Reason.SLOW, R.string.why_slow, Ladder.Reason.OTHER_CHIP, R.string.why_other_chip,
            Ladder.Reason.NO_LIBRARY, R.string.why_no_library, Ladder.Reason.FAILED, R.string.why_failed,
            Ladder.Reason.SELF_TEST, R.string.why_self_test, Ladder.Reason.DIED, R.string.why_died);
        for (Ladder.Reason reason : Ladder.Reason.values()) {
            assertEquals((int) reasons.get(reason), Messages.text(reason));
        }
        Map<Home.Action, Integer> buttons = Map.of(Home.Action.NONE, R.string.index_now, Home.Action.INDEX,
            R.string.index_now, Home.Action.ASK_FOR_ACCESS, R.string.allow, Home.Action.SETTINGS, R.string.settings,
            Home.Action.TRY_AGAIN, R.string.try_again);
        for (Home.Action action : Home.Action.values()) {
            assertEquals((int) buttons.get(action), Messages.button(action));
        }
    }

    /** Of ten photos four are done, at thirty a minute, and two cannot be read. */
    @Test
    public void theStateOfTheIndexIsToldInWords() {
        Indexing run = state(false, 4, 30);
        assertEquals("4 of 10 items\n30 a minute, about a minute left", Messages.progress(app(), run));
        assertEquals("4 of 10 items", Messages.progress(app(), state(false, 4, 0)));
        assertEquals("4 of 10 items\n" + app().getString(R.string.resting),
            Messages.progress(app(), state(true, 4, 30)));
        assertEquals("4 of 10 items\n2 a minute, about 3 minutes left",
            Messages.progress(app(), state(false, 4, 2)));
        assertEquals("4 of 10 items\n1 a minute, about 6 minutes left",
            Messages.progress(app(), state(false, 4, 1)));
        assertEquals("4 of 10 items\n1 a minute, about 20 minutes left",
            Messages.progress(app(), state(false, 4, 0.3)));
        Indexing reading = new Indexing(true, false, false, 10, 10, 30, 2, false, null, 3, 9);
        assertEquals("Reading text: 3 of 9\n30 a minute, about a minute left", Messages.progress(app(), reading));
        String left = "2 items can be searched\n6 items left to index";
        assertEquals(left, line(Home.Line.LEFT, run, Waiting.NO));
        assertEquals(left + "\n" + app().getString(R.string.waits_for_charger), line(Home.Line.LEFT, run, Waiting.CHARGER));
        assertEquals(left + "\n" + app().getString(R.string.waits_for_power), line(Home.Line.LEFT, run, Waiting.POWER_SAVER));
        assertEquals(left + "\n" + app().getString(R.string.paused), line(Home.Line.LEFT, run, Waiting.PAUSED));
        String found = "2 items can be searched\n2 items could not be read and are left out.";
        assertEquals(found, line(Home.Line.SEARCHABLE, run, Waiting.PAUSED));
        assertEquals(found + "\n" + app().getString(R.string.stopped), line(Home.Line.SEARCHABLE, run, Waiting.STOPPED));
        assertEquals("", line(Home.Line.NONE, run, Waiting.STOPPED));
        Indexing failed = new Indexing(false, false, true, 4, 10, 0, 0, false, McadException.Kind.STORAGE);
        assertEquals("4 items can be searched\n" + Messages.failure(app(), McadException.Kind.STORAGE) + "\n"
            + app().getString(R.string.changing), line(Home.Line.FAILED, failed, Waiting.NO));
        assertEquals("6 items\n" + app().getString(R.string.paused),
            Messages.panel(app(), Home.Panel.NOT_INDEXED, state(false, 4, 0), Waiting.PAUSED));
        assertEquals(app().getString(R.string.stopped),
            Messages.panel(app(), Home.Panel.NOT_INDEXED, state(false, 10, 2), Waiting.STOPPED));
        assertEquals("2 items could not be read and are left out.",
            Messages.panel(app(), Home.Panel.NONE_READABLE, run, Waiting.NO));
        assertEquals(Messages.failure(app(), McadException.Kind.STORAGE),
            Messages.panel(app(), Home.Panel.FAILED, failed, Waiting.NO));
        assertEquals(app().getString(R.string.start_text), Messages.panel(app(), Home.Panel.WELCOME, run, Waiting.NO));
        assertEquals(app().getString(R.string.no_photos), Messages.panel(app(), Home.Panel.NO_PHOTOS, run, Waiting.NO));
    }

    private static Indexing state(boolean rests, int done, double perMinute) {
        return new Indexing(true, rests, false, done, 10, perMinute, 2, false, null);
    }

    private static String line(Home.Line line, Indexing state, Waiting waiting) {
        return Messages.line(app(), line, state, waiting, 4);
    }

    @Test
    public void theSmallestAppShowsTheBestPhoto() throws IOException {
        allowPhotos();
        take("chelsea.png");
        take("coffee.png");
        index();
        Activity screen = open(SampleActivity.class).get();
        EditText query = (EditText) ((ViewGroup) screen.findViewById(android.R.id.content)).getChildAt(0);
        query.setText("a cat");
        query.onEditorAction(EditorInfo.IME_ACTION_SEARCH);
        waitFor("the answer", () -> !query.getText().toString().equals("a cat"));
        assertEquals(search().search("a cat", 1).results().toString(), query.getText().toString());
        assertTrue(query.getText().toString().contains("content://media/"));
    }
}
