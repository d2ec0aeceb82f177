package io.github.mcadmobile.platform;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.net.Uri;
import android.os.storage.StorageManager;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.util.List;
import org.junit.Before;
import org.junit.Test;
import org.junit.function.ThrowingRunnable;
import org.robolectric.annotation.Config;

/** Cards that go and come, a MediaStore that begins anew, and access to some photos. */
public final class VolumesTest extends AppTestCase {
    private static final String CARD = "1a2b-3c4d";

    @Before
    public void allowed() {
        allowPhotos();
    }

    private static List<String> found() throws IOException {
        return search().search("an animal", 10).results().stream().map(SearchEngine.Result::path).toList();
    }

    /** How many photos were embedded so far. */
    private static int embedded() {
        return search().timings.count("image");
    }

    private void takeCardOut() {
        shadowOf(app().getSystemService(StorageManager.class)).resetStorageVolumeList();
        mount(PRIMARY, true);
        photos.unmount(CARD);
    }

    @Test
    @Config(minSdk = 29)
    public void photosOfACardThatIsOutAreNotShownAndNotForgotten() throws IOException {
        mount(CARD, false);
        take("coffee.png");
        photos.add(packaged("chelsea.png"), CARD, "DCIM/", "image/png", null);
        index();
        assertEquals(2, found().size());

        takeCardOut();
        assertEquals(1, found().size());
        index();
        assertEquals(1, found().size());

        mount(CARD, false);
        index();
        assertEquals(2, found().size());
        assertEquals(2, embedded());
    }

    @Test
    public void withoutAccessNothingIsShownAndNothingForgotten() throws IOException {
        take("coffee.png");
        index();
        shadowOf(app()).denyPermissions(
            PhotoAccess.READ_STORAGE, PhotoAccess.READ_IMAGES, PhotoAccess.READ_VIDEO);
        for (ThrowingRunnable use : List.<ThrowingRunnable>of(VolumesTest::found, () -> search().index())) {
            IOException refused = assertThrows(IOException.class, use);
            assertEquals(McadException.Kind.ACCESS, McadException.kind(refused));
        }
        allowPhotos();
        assertEquals(1, found().size());
    }

    @Test
    public void photosThatGetOtherNumbersAreNotEmbeddedAgain() throws IOException {
        take("coffee.png");
        take("chelsea.png");
        index();
        List<String> before = found();
        photos.renumber(PRIMARY);
        index();
        List<String> after = found();
        assertEquals(2, after.size());
        assertTrue(after.toString(), after.stream().noneMatch(before::contains));
        assertEquals(2, embedded());
    }

    @Test
    @Config(minSdk = 34)
    public void photosThatTheUserDoesNotShowAnyMoreStayInTheIndex() throws IOException {
        Uri coffee = take("coffee.png");
        take("chelsea.png");
        index();
        shadowOf(app()).denyPermissions(PhotoAccess.READ_IMAGES, PhotoAccess.READ_VIDEO);
        allow(PhotoAccess.READ_SELECTED);
        assertEquals(PhotoAccess.State.SOME, new MediaPhotos(app()).access());
        photos.hide(coffee, true);
        index();
        assertEquals(1, found().size());
        photos.hide(coffee, false);
        index();
        assertEquals(2, found().size());
        assertEquals(2, embedded());
    }
}
