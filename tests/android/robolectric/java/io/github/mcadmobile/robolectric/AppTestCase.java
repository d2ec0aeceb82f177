package io.github.mcadmobile.robolectric;

import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Activity;
import android.app.Application;
import android.content.ComponentName;
import android.content.ContentUris;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.os.Looper;
import android.os.Process;
import android.os.storage.StorageManager;
import android.util.LruCache;
import android.view.Menu;
import android.view.View;
import android.widget.GridView;
import android.widget.PopupMenu;
import android.widget.TextView;
import io.github.mcadmobile.demo.R;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.platform.IndexService;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.MediaSearch;
import java.io.File;
import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.junit.After;
import org.junit.Before;
import org.junit.runner.RunWith;
import org.robolectric.Robolectric;
import org.robolectric.RuntimeEnvironment;
import org.robolectric.android.controller.ActivityController;
import org.robolectric.android.controller.ServiceController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowActivity;
import org.robolectric.shadows.ShadowPopupMenu;
import org.robolectric.shadows.ShadowStorageManager;
import org.robolectric.shadows.StorageVolumeBuilder;
import org.robolectric.util.ReflectionHelpers;

/**
 * A test of the app on Android's framework. To add one: extend this class in the package whose classes it needs, name
 * it {@code ...Test}, and write JUnit 4 methods; it is found by its name. Each test begins with an app that was just
 * installed: no access, no index, one volume without photos ({@link #photos}), and ends with no run on. All but the
 * first find the bundle copied already, which would take most of their time.
 *
 * <p>{@link #open} shows a screen and {@link #close} leaves it; {@link #answer} answers what it asked for. Android
 * starts no service here: {@link #startService} does what {@code indexNow} asked Android for. Threads of the app are
 * real, and the screen's is the test's own: {@link #waitFor} lets both go on until something is true.
 *
 * <p>{@code @Config(minSdk = 33)} leaves a test out below an API level. ROBOLECTRIC=FirstRunTest runs one class alone:
 * {@code ROBOLECTRIC=FirstRunTest pytest tests/android/robolectric -k 30}
 */
@RunWith(AppRunner.class)
@Config(shadows = {ShadowOsWithoutSeek.class, ShadowFilm.class, ShadowRegionDecoder.class})
public abstract class AppTestCase {
    protected static final String PRIMARY = "external_primary";
    /** Threads of runs, by their names. */
    private static final Set<String> RUNS =
        Set.of("index-service", "index-job", "index-later", "index-end", "follow", "look");
    private static final Duration LONGEST = Duration.ofMinutes(2);
    /** The bundle as the first test had it installed: compared with its checksums, and flushed to the disk. */
    private static Path installed;

    protected FakeMediaStore photos;
    private final List<ActivityController<?>> screens = new ArrayList<>();
    private final List<ServiceController<IndexService>> services = new ArrayList<>();

    @Before
    public final void install() throws IOException {
        if (installed != null) {
            copyTree(installed, bundle());
        }
        app().getApplicationInfo().nativeLibraryDir = app().getCodeCacheDir().getPath(); // without an NPU's libraries
        photos = Robolectric.setupContentProvider(FakeMediaStore.class, "media");
        mount(PRIMARY, true);
    }

    @After
    public final void end() throws IOException, InterruptedException, ReflectiveOperationException {
        for (ActivityController<?> screen : screens) {
            if (!screen.get().isDestroyed()) {
                close(screen);
            }
        }
        search().stopIndexing();
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            if (RUNS.contains(thread.getName())) {
                thread.join(LONGEST.toMillis());
            }
        }
        search().close();
        forget();
        if (installed == null && Files.isDirectory(bundle())) {
            installed = Files.createTempDirectory("bundle").resolve("installed");
            copyTree(bundle(), installed);
        }
    }

    private static Path bundle() {
        return app().getNoBackupFilesDir().toPath().resolve("photo-search/bundle");
    }

    private static void copyTree(Path from, Path to) throws IOException {
        Files.createDirectories(to.getParent());
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : (Iterable<Path>) files::iterator) {
                Files.copy(file, to.resolve(from.relativize(file).toString()));
            }
        }
    }

    /** What is left when the process ends: what is on the disk. */
    protected static void forget() throws ReflectiveOperationException {
        Field field = MediaSearch.class.getDeclaredField("instance");
        field.setAccessible(true);
        field.set(null, null);
        forgetThumbnails();
    }

    protected static void forgetThumbnails() throws ReflectiveOperationException {
        Class<?> thumbnails = Class.forName("io.github.mcadmobile.demo.Thumbnails");
        ReflectionHelpers.<LruCache<?, ?>>getStaticField(thumbnails, "CACHE").evictAll();
    }

    protected static Application app() {
        return RuntimeEnvironment.getApplication();
    }

    protected static PhotoSearch search() {
        return MediaSearch.of(app());
    }

    /** The real photographs that Python packages ship. */
    protected static File packaged(String name) {
        return new File(System.getProperty("mcad.photos"), name);
    }

    /** Put a volume in, as Android and its MediaStore see it. */
    protected void mount(String volume, boolean primary) {
        ShadowStorageManager storage = shadowOf(app().getSystemService(StorageManager.class));
        storage.addStorageVolume(new StorageVolumeBuilder(volume, new File("/storage/" + volume), volume,
            Process.myUserHandle(), "mounted").setIsPrimary(primary).setFsUuid(primary ? null : volume).build());
        photos.mount(volume);
    }

    /** Add a packaged photo to the camera's folder of the phone's own storage. */
    protected Uri take(String name) {
        return photos.add(packaged(name), PRIMARY, "DCIM/Camera/", name.endsWith(".png") ? "image/png" : "image/jpeg",
            null);
    }

    /** Add a film of these photos, as {@link ShadowFilm} plays it. */
    protected Uri film(String name, long ms, String... names) throws IOException {
        Path file = app().getCacheDir().toPath().resolve(name);
        Files.writeString(file, ms + " " + String.join(" ", names));
        return photos.add(file.toFile(), PRIMARY, "DCIM/Camera/", "video/mp4", null);
    }

    /** What a reader of text finds in an indexed photo, and the names of its place. */
    protected static void read(Uri photo, PhotoWords words) throws IOException {
        List<Path> manifests;
        try (Stream<Path> files = Files.walk(app().getNoBackupFilesDir().toPath())) {
            manifests = files.filter(file -> file.endsWith("manifest.json")).toList();
        }
        // Before Android 10, an index names the volume beside it, and all volumes have one name.
        String path = search().recent(Integer.MAX_VALUE, Filter.ALL).stream().map(PhotoLibrary.Item::path)
            .filter(item -> MediaPath.uri(item).endsWith("/images/media/" + ContentUris.parseId(photo))).findFirst().get();
        try (PhotoIndex index = PhotoIndex.open(manifests.get(0).getParent())) {
            index.nameBy(new MediaPhotos(app())::names);
            try (IndexWriter writer = index.writer()) {
                assertTrue(writer.setWords(path, words));
                writer.commit();
            }
        }
        search().index(); // searches see it
    }

    protected static void allow(String... permissions) {
        shadowOf(app()).grantPermissions(permissions);
    }

    /** Access to all photos and videos, as if it was given before. */
    protected static void allowPhotos() {
        allow(Build.VERSION.SDK_INT >= 33 ? new String[] {PhotoAccess.READ_IMAGES, PhotoAccess.READ_VIDEO}
            : new String[] {PhotoAccess.READ_STORAGE});
    }

    /** Show a screen, as Android starts it: created, started, resumed, visible. */
    protected <T extends Activity> ActivityController<T> open(Class<T> kind, Intent intent) {
        return keep(Robolectric.buildActivity(kind, intent).setup());
    }

    /** A screen that was made otherwise is left at the end, too. */
    protected <T extends Activity> ActivityController<T> keep(ActivityController<T> screen) {
        screens.add(screen);
        return screen;
    }

    protected <T extends Activity> ActivityController<T> open(Class<T> kind) {
        return open(kind, new Intent(app(), kind));
    }

    protected static void close(ActivityController<?> screen) {
        screen.pause().stop().destroy();
    }

    /** The user's answer to what a screen asked for last: these permissions are given, the others are not. */
    protected static void answer(Activity screen, String... given) {
        ShadowActivity.PermissionsRequest asked = shadowOf(screen).getLastRequestedPermission();
        allow(given);
        int[] answers = new int[asked.requestedPermissions.length];
        for (int i = 0; i < answers.length; i++) {
            answers[i] = screen.checkSelfPermission(asked.requestedPermissions[i]);
        }
        screen.onRequestPermissionsResult(asked.requestCode, asked.requestedPermissions, answers);
    }

    /** Start the service that the app asked for. */
    protected ServiceController<IndexService> startService() {
        Intent asked = shadowOf(app()).getNextStartedService();
        assertTrue("the app started no service", asked != null);
        assertTrue(asked.toString(),
            new ComponentName(app(), IndexService.class).equals(asked.getComponent()));
        ServiceController<IndexService> service = Robolectric.buildService(IndexService.class, asked).create();
        services.add(service);
        return service.startCommand(0, services.size());
    }

    /** The menu of a screen, as it is when it is opened. */
    protected static Menu menu(Activity screen) {
        Menu menu = new PopupMenu(screen, screen.getWindow().getDecorView()).getMenu();
        screen.onCreateOptionsMenu(menu);
        screen.onPrepareOptionsMenu(menu);
        return menu;
    }

    /** Index what there is, to the end. */
    protected void index() throws IOException {
        search().index();
        idle();
    }

    /** Let the screen's thread do what waits, now and in the next tenth of a second. */
    protected static void idle() {
        shadowOf(Looper.getMainLooper()).idleFor(Duration.ofMillis(100));
    }

    /** Let all threads go on until something is so, which the message names; fails after two minutes. */
    protected static void waitFor(String message, BooleanSupplier so) {
        long end = System.nanoTime() + LONGEST.toNanos();
        idle();
        while (!so.getAsBoolean()) {
            assertTrue("never came: " + message, System.nanoTime() < end);
            try {
                Thread.sleep(5);
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
            idle();
        }
    }

    /** Tap a chip of a screen, and choose a value that it offers. */
    protected static void choose(Activity screen, int chip, int value) {
        screen.findViewById(chip).performClick();
        Menu offered = ShadowPopupMenu.getLatestPopupMenu().getMenu();
        for (int i = 0; i < offered.size(); i++) {
            if (offered.getItem(i).getTitle().equals(screen.getString(value))) {
                assertTrue(offered.performIdentifierAction(offered.getItem(i).getItemId(), 0));
                return;
            }
        }
        throw new AssertionError("not offered: " + screen.getString(value));
    }

    protected static String text(Activity screen, int id) {
        return ((TextView) screen.findViewById(id)).getText().toString();
    }

    /** Whether a search was answered with so many photos. */
    protected static boolean answers(Activity screen, int photos) {
        return text(screen, R.id.status).startsWith("Nearest photos")
            && ((GridView) screen.findViewById(R.id.grid)).getCount() == photos;
    }

    protected static boolean isShown(Activity screen, int id) {
        View view = screen.findViewById(id);
        return view != null && view.isShown();
    }
}
