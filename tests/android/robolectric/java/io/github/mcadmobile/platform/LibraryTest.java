package io.github.mcadmobile.platform;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotSame;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import android.app.Application;
import android.content.ComponentCallbacks2;
import android.content.Context;
import android.net.Uri;
import android.os.Build;
import com.sun.management.ThreadMXBean;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.FolderPhotos;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.robolectric.AppTestCase;
import io.github.mcadmobile.robolectric.FakeMediaStore;
import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.annotation.Config;

/** The phone's photos as MediaStore has them, and what the app takes of memory for them. */
public final class LibraryTest extends AppTestCase {
    private static final String CARD = "1a2b-3c4d";

    @Before
    public void allowed() {
        allowPhotos();
    }

    @Test
    public void queriesAreInThePhonesLanguage() {
        Locale before = Locale.getDefault(); // which Android sets when the user chooses a language
        for (String language : List.of("en", "de", "ja")) {
            Locale.setDefault(Locale.forLanguageTag(language + "-US"));
            assertEquals(language, new AndroidDevice(app()).language());
        }
        Locale.setDefault(before);
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void aVolumeThatFailsCostsTheOthersNothing() throws IOException {
        take("china.jpg");
        mount(CARD, false);
        Uri onCard = photos.add(packaged("chelsea.png"), CARD, "DCIM/Camera/", "image/png", null);
        index();
        assertEquals(2, search().photos());
        photos.fail(CARD, new IllegalStateException("the card is just taken out"));
        take("coffee.png");
        index();
        assertEquals(3, search().photos());
        assertFalse(search().search("a cat", 9).results().stream().anyMatch(hit -> hit.path().equals(onCard.toString())));
        assertEquals(2, search().search("a cat", 9).results().size());
        photos.fail(CARD, null);
        index();
        assertEquals(3, search().search("a cat", 9).results().size());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void theListTellsOfEachPhotoNewestFirst() throws IOException {
        File older = changed("china.jpg", 1_000_000_000_000L);
        File newer = changed("chelsea.png", 1_500_000_000_000L);
        String first = photos.add(older, PRIMARY, "DCIM/Camera/", "image/jpeg", 5L).toString();
        String second = photos.add(newer, PRIMARY, "Pictures/", "image/png", null).toString();
        PhotoLibrary.Listing listing = new MediaPhotos(app()).list();
        assertEquals(List.of(
            new PhotoLibrary.Item(second, 1_500_000_000_000L, newer.length(), "image/png", "Pictures", 1_500_000_000_000L),
            new PhotoLibrary.Item(first, 1_000_000_000_000L, older.length(), "image/jpeg", "DCIM/Camera", 5)),
            listing.items());
        assertTrue(listing.whole());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void aPhotoIsListedThoughOthersWereDeletedMeanwhile() throws IOException {
        List<Uri> all = new ArrayList<>();
        for (int i = 0; i < FakeMediaStore.WINDOW + 2; i++) {
            all.add(take("china.jpg"));
        }
        photos.afterNextWindow(() -> photos.remove(all.get(0)));
        Set<String> listed = new MediaPhotos(app()).list().items().stream().map(PhotoLibrary.Item::path)
            .collect(Collectors.toSet());
        all.subList(1, all.size()).forEach(photo -> assertTrue(listed.contains(photo.toString())));
    }

    @Test
    public void aVideoIsFoundOnceAtItsBestMoment() throws IOException {
        take("coffee.png");
        String film = film("film.mp4", 40_000, "china.jpg", "chelsea.png", "coffee.png", "rocket.jpg").toString();
        film("broken.mp4", 0);
        index();
        assertEquals(2, search().indexing().done() - search().indexing().skipped());
        SearchEngine.Result best = search().search("a cat", 9, Filter.ALL.of(Filter.Kind.VIDEO)).results().get(0);
        // Before Android 10, all volumes have one name.
        assertTrue(best.path(), MediaPath.uri(best.path()).endsWith(film.substring(film.indexOf("/video/"))));
        assertEquals(16_000, best.atMs());
        assertEquals(2, search().search("a cat", 9).results().size());
        photos.remove(Uri.parse(film));
        index();
        assertEquals(1, search().search("a cat", 9).results().size());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void theLastTakenPhotosOfAllVolumesAreTheRecentOnes() throws IOException {
        mount(CARD, false);
        for (long takenMs = 1; takenMs <= 6; takenMs++) {
            String volume = takenMs % 2 == 0 ? PRIMARY : CARD;
            photos.add(packaged("china.jpg"), volume, "DCIM/", "image/jpeg", takenMs);
        }
        assertEquals(List.of(6L, 5L), recent(2, item -> true));
        assertEquals(List.of(3L, 2L), recent(2, item -> item.takenMs() < 4));
        photos.fail(CARD, new IllegalStateException("the card is just taken out"));
        assertEquals(List.of(6L, 4L, 2L), recent(9, item -> true));
    }

    @Test
    public void aMediaStoreThatDoesNotAnswerIsNotTakenForOneWithoutPhotos() throws IOException {
        take("china.jpg");
        index();
        photos.die();
        IOException error = assertThrows(IOException.class, () -> search().search("a house", 5));
        assertEquals(McadException.Kind.PHOTOS, McadException.kind(error));
    }

    private static List<Long> recent(int most, Predicate<PhotoLibrary.Item> wanted) throws IOException {
        return new MediaPhotos(app()).recent(most, wanted).stream().map(PhotoLibrary.Item::takenMs).toList();
    }

    private static File changed(String name, long ms) throws IOException {
        File file = new File(app().getCacheDir(), name);
        Files.copy(packaged(name).toPath(), file.toPath());
        assertTrue(file.setLastModified(ms));
        return file;
    }

    /** Among more photos than one question may name. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void eachOfManyPhotosIsAskedFor() throws IOException {
        String images = "content://media/" + PRIMARY + "/images/media/";
        List<String> paths = new ArrayList<>();
        for (int i = 0; i < 1001; i++) {
            paths.add(images + (5000 + i));
        }
        Set<String> there = new HashSet<>();
        for (int at : new int[] {0, 499, 500, 999, 1000}) {
            paths.set(at, take("china.jpg").toString());
            there.add(paths.get(at));
        }
        assertEquals(there, new MediaPhotos(app()).visible(paths));
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void photosThatHaveNotChangedAreNotListedAgain() throws IOException {
        take("china.jpg");
        search().count();
        int queries = photos.queries();
        search().count();
        assertEquals(queries, photos.queries());
        take("coffee.png");
        search().count();
        assertEquals(queries + 2, photos.queries()); // of photos and of videos
        assertEquals(2, search().indexing().left());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void aPhotoThatIsTakenDuringAListingIsInTheNextOne() throws IOException {
        take("china.jpg");
        photos.afterNextList(() -> take("coffee.png"));
        search().count();
        assertEquals(1, search().indexing().left());
        search().count();
        assertEquals(2, search().indexing().left());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void aPhotoWithoutAFolderIsInNoAlbumCalledNull() throws IOException {
        photos.add(packaged("china.jpg"), PRIMARY, null, "image/jpeg", null);
        index();
        assertEquals(Set.of(""), search().folders().keySet());
    }

    @Test
    public void theTextTowerIsGivenBackWhenAndroidNeedsMemory() throws IOException {
        take("china.jpg");
        index();
        Ladder.LoadedRung tower = search().textTower();
        assertSame(tower, search().textTower());
        app().onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_UI_HIDDEN);
        assertSame(tower, search().textTower());
        app().onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND);
        Ladder.LoadedRung again = search().textTower();
        assertNotSame(tower, again);
        app().onLowMemory();
        assertNotSame(again, search().textTower());
        assertEquals(1, search().search("a house", 5, Filter.ALL).results().size());
    }

    /** An app whose bundle is elsewhere. */
    private static final class OwnBundle extends Application implements BundleProvider {
        private final List<String> asked = new ArrayList<>();

        OwnBundle() {
            attachBaseContext(app());
        }

        @Override
        public Context getApplicationContext() {
            return this;
        }

        @Override
        public BundleInstaller.Source bundle() {
            return path -> {
                asked.add(path);
                return getAssets().open("bundle/" + path);
            };
        }
    }

    @Test
    public void anApplicationMayProvideTheBundle() throws IOException {
        OwnBundle own = new OwnBundle();
        try (PhotoSearch search = MediaSearch.open(own, "own-bundle", new FolderPhotos(app().getFilesDir().toPath()))) {
            assertEquals(search().bundle().name, search.bundle().name);
        }
        assertTrue(own.asked.contains(Bundle.MANIFEST));
    }

    /** A bitmap of 48 MB, as a raw photo would be: neither JPEG nor PNG. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.P)
    public void aLargeFileIsNotReadIntoTheHeap() throws IOException {
        File file = bitmap(4000, 4000);
        Uri photo = photos.add(file, PRIMARY, "DCIM/", "image/bmp", null);
        Uri small = photos.add(bitmap(40, 40), PRIMARY, "DCIM/", "image/bmp", null);
        new BitmapDecoder().decode(new MediaPhotos(app()).source(small), 0).close(); // the first decode loads classes
        ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        long before = threads.getThreadAllocatedBytes(Thread.currentThread().getId());
        new BitmapDecoder().decode(new MediaPhotos(app()).source(photo), 0).close();
        long allocated = threads.getThreadAllocatedBytes(Thread.currentThread().getId()) - before;
        assertTrue(allocated + " bytes", allocated < file.length() / 4);
        assertEquals(1000, BitmapDecoder.show(new MediaPhotos(app()).source(photo), 600).getWidth());
        // Four times the pixels that a tower needs, as of a HEIC photo.
        try (Photo decoded = new BitmapDecoder().decode(new MediaPhotos(app()).source(photo), 256)) {
            assertEquals(2000, decoded.width());
        }
    }

    private static File bitmap(int width, int height) throws IOException {
        ByteBuffer header = ByteBuffer.allocate(54).order(ByteOrder.LITTLE_ENDIAN);
        header.put((byte) 'B').put((byte) 'M').putInt(54 + 3 * width * height).putInt(0).putInt(54).putInt(40)
            .putInt(width).putInt(height).putShort((short) 1).putShort((short) 24);
        File file = new File(app().getCacheDir(), width + ".bmp");
        try (RandomAccessFile out = new RandomAccessFile(file, "rw")) {
            out.write(header.array());
            out.setLength(54 + 3L * width * height);
        }
        return file;
    }
}
