package mcad.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import android.app.Activity;
import android.view.ViewGroup;
import android.view.inputmethod.EditorInfo;
import android.widget.EditText;
import android.widget.ListView;
import android.widget.TextView;
import java.io.IOException;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import mcad.engine.towers.Ladder;
import mcad.robolectric.AppTestCase;
import mcad.sample.SampleActivity;
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
        ViewGroup list = open(NumbersActivity.class).get().findViewById(R.id.rows);
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
        assertEquals(search().bundle().name, rows.get(app().getString(R.string.bundle)));
    }

    private static String text(ViewGroup list, int row, int id) {
        return ((TextView) list.getChildAt(row).findViewById(id)).getText().toString();
    }

    @Test
    public void licencesStandUnderTheNamesOfTheirFiles() throws IOException {
        ListView list = open(AboutActivity.class).get().findViewById(R.id.texts);
        waitFor("the texts", () -> list.getAdapter() != null);
        Set<Object> rows = new HashSet<>();
        for (int i = 0; i < list.getAdapter().getCount(); i++) {
            rows.add(list.getAdapter().getItem(i));
        }
        assertTrue(rows.size() > 10);
        assertTrue("that there is none", !rows.contains(app().getString(R.string.about_none)));
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
