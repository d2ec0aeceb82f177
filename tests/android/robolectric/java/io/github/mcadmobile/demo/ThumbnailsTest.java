package io.github.mcadmobile.demo;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;

import android.graphics.Bitmap;
import android.graphics.drawable.BitmapDrawable;
import android.widget.ImageView;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.StandardCopyOption;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.ThreadPoolExecutor;
import org.junit.After;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.util.ReflectionHelpers;

/** The photos in tiles, which show one photo after another as the user scrolls. */
public final class ThumbnailsTest extends AppTestCase {
    private final Map<ImageView, Thumbnails.Loaded> loaded = new HashMap<>();
    private Thumbnails thumbnails;
    private ImageView tile;
    private String china;
    private String coffee;

    @Before
    public void photographs() {
        allowPhotos();
        china = take("china.jpg", 981_200_000_000L);
        coffee = take("coffee.png", 1_012_750_000_000L);
        thumbnails = new Thumbnails(app());
        tile = new ImageView(app());
    }

    private String take(String name, long takenMs) {
        return photos.add(packaged(name), PRIMARY, "DCIM/Camera/", "image/jpeg", takenMs).toString();
    }

    @After
    public void closed() {
        thumbnails.close();
    }

    private void show(String path) {
        thumbnails.show(tile, path, shown -> loaded.put(tile, shown));
    }

    private static Bitmap shown(ImageView view) {
        return view.getDrawable() instanceof BitmapDrawable drawable ? drawable.getBitmap() : null;
    }

    private Bitmap await(String path) {
        show(path);
        waitFor("the thumbnail", () -> shown(tile) != null);
        return shown(tile);
    }

    private ExecutorService loaders() {
        return ReflectionHelpers.getField(thumbnails, "loaders");
    }

    @Test
    public void aThumbnailIsDecodedOnce() {
        Bitmap first = await(china);
        assertEquals(Messages.day(981_200_000_000L), loaded.get(tile).day());
        loaded.clear();
        photos.opened().clear();
        show(coffee);
        assertNull("the photo before", shown(tile));
        waitFor("the other", () -> shown(tile) != null);
        show(china);
        assertEquals(first, shown(tile));
        assertEquals(Messages.day(981_200_000_000L), loaded.get(tile).day());
        assertEquals(Set.of("coffee.png"), photos.opened());
    }

    @Test
    public void theThumbnailOfAnEditedPhotoShowsItsNewPicture() throws IOException {
        File file = new File(app().getCacheDir(), "edited.jpg");
        Files.copy(packaged("china.jpg").toPath(), file.toPath());
        assertTrue(file.setLastModified(1_000_000_000_000L));
        String edited = photos.add(file, PRIMARY, "DCIM/Camera/", "image/jpeg", null).toString();
        Bitmap before = await(edited);
        await(coffee);
        Files.copy(packaged("astronaut.png").toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING);
        show(edited);
        assertEquals("until the new one is there", before, shown(tile));
        waitFor("the new picture", () -> shown(tile) != before);
        assertEquals("astronaut", shown(tile).getWidth(), shown(tile).getHeight());
    }

    @Test
    public void theTileOfAVideoShowsItsMomentAndItsLength() throws IOException {
        String film = film("film.mp4", 67_000, "china.jpg", "astronaut.png").toString();
        Bitmap first = await(Moments.path(film, 0));
        assertTrue("china", first.getWidth() > first.getHeight());
        Bitmap second = await(Moments.path(film, 50_000));
        assertEquals("astronaut", second.getWidth(), second.getHeight());
        assertEquals("01:07", loaded.get(tile).length());
        assertFalse(loaded.get(tile).day().isEmpty());
        photos.opened().clear();
        assertEquals(first, await(Moments.path(film, 0)));
        assertEquals(Set.of(), photos.opened());
        await(china);
        assertEquals("", loaded.get(tile).length());
    }

    @Test
    public void allScreensShareTheThumbnailsOfOneSize() {
        Bitmap first = await(china);
        photos.opened().clear();
        Thumbnails another = new Thumbnails(app());
        ImageView there = new ImageView(app());
        another.show(there, china, shown -> loaded.put(there, shown));
        another.close();
        assertEquals(first, shown(there));
        RuntimeEnvironment.setQualifiers("w1280dp-h800dp-land-mdpi");
        Thumbnails larger = new Thumbnails(app());
        larger.show(there, china, shown -> loaded.put(there, shown));
        assertNull("of another size", shown(there));
        waitFor("the thumbnail", () -> shown(there) != null);
        larger.close();
    }

    @Test
    public void aThumbnailThatComesLateDoesNotReplaceAnotherPhotos() {
        Bitmap first = await(china);
        show(coffee);
        while (((ThreadPoolExecutor) loaders()).getCompletedTaskCount() < 2) {
            Thread.onSpinWait();
        }
        assertEquals(Set.of("china.jpg", "coffee.png"), photos.opened());
        show(china);
        idle();
        assertEquals(first, shown(tile));
        assertEquals(Messages.day(981_200_000_000L), loaded.get(tile).day());
    }

    @Test
    public void tilesThatAreScrolledPastAreNotLoaded() {
        CountDownLatch gate = new CountDownLatch(1);
        for (int i = 0; i < 2; i++) { // both threads
            loaders().execute(() -> {
                try {
                    gate.await();
                } catch (InterruptedException error) {
                    throw new AssertionError(error);
                }
            });
        }
        show(china);
        show(coffee);
        gate.countDown();
        waitFor("the second", () -> shown(tile) != null);
        assertEquals(Set.of("coffee.png"), photos.opened());
    }
}
