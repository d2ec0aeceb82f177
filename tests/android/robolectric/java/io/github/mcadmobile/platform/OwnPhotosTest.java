package io.github.mcadmobile.platform;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import android.content.ComponentCallbacks;
import android.content.ComponentCallbacks2;
import android.content.ComponentName;
import android.content.Context;
import android.content.ContextWrapper;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.net.Uri;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.FolderPhotos;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.Test;

/** A search over photos that belong to the app, beside the one over the phone's. */
public final class OwnPhotosTest extends AppTestCase {
    @Test
    public void anAppSearchesItsOwnPhotosWithoutAnyPermission() throws IOException {
        assertEquals(PackageManager.PERMISSION_DENIED, app().checkSelfPermission(PhotoAccess.READ_IMAGES));
        Path folder = Files.createDirectories(app().getFilesDir().toPath().resolve("own"));
        Files.copy(packaged("coffee.png").toPath(), folder.resolve("coffee.png"));
        Files.copy(packaged("chelsea.png").toPath(), folder.resolve("cat.png"));
        try (PhotoSearch own = MediaSearch.open(app(), "own", new FolderPhotos(folder))) {
            assertEquals(2, own.index().get().added());
            assertEquals(2, own.search("an animal", 5).results().size());
            assertEquals(List.of("coffee.png"), own.moreLike("cat.png", 5).results().stream().map(
                SearchEngine.Result::path).toList());
        }
        assertEquals(0, search().photos());
    }

    @Test
    public void anAppWithoutTheServiceIsToldWhatToCall() {
        Context without = new ContextWrapper(app()) {
            @Override
            public ComponentName startForegroundService(Intent service) {
                return null; // as Android answers for a service that no manifest declares
            }
        };
        IllegalStateException error =
            assertThrows(IllegalStateException.class, () -> MediaSearch.indexNow(without));
        assertTrue(error.getMessage(), error.getMessage().contains("indexLater()"));
    }

    @Test
    public void aSearchThatWasClosedIsLeftAloneWhenAndroidNeedsMemory() throws IOException {
        Set<ComponentCallbacks> registered = new HashSet<>();
        Context context = new ContextWrapper(app()) {
            @Override
            public Context getApplicationContext() {
                return this;
            }

            @Override
            public void registerComponentCallbacks(ComponentCallbacks callback) {
                registered.add(callback);
            }

            @Override
            public void unregisterComponentCallbacks(ComponentCallbacks callback) {
                registered.remove(callback);
            }
        };
        Path folder = Files.createDirectories(app().getFilesDir().toPath().resolve("own"));
        PhotoSearch own = MediaSearch.open(context, "own", new FolderPhotos(folder));
        ComponentCallbacks2 callback = (ComponentCallbacks2) registered.iterator().next();
        own.close();
        own.close();
        assertEquals(Set.of(), registered);
        callback.onTrimMemory(ComponentCallbacks2.TRIM_MEMORY_BACKGROUND); // it may already have been on its way
        callback.onLowMemory();
    }

    @Test
    public void aPhotoOfThePhoneIsShownByItsUri() {
        String uri = "content://media/external/images/media/7";
        assertEquals(Uri.parse(uri), MediaSearch.uri(new SearchEngine.Result(uri + "#1A2B-3C4D", 0.5f)));
    }
}
