package io.github.mcadmobile.demo;

import android.app.Activity;
import android.content.SharedPreferences;
import android.view.Menu;
import android.view.MenuItem;
import io.github.mcadmobile.gallery.Album;
import io.github.mcadmobile.gallery.Folders;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.platform.MediaSearch;
import java.io.IOException;
import java.util.List;

/** The user's saved choices in the menu, read and written on the worker thread. */
final class Choices {
    private static final String DUPLICATES = "stack-duplicates";
    /** The least cosine of near duplicates, as in `mcad-mobile search`. */
    private static final float SAME = 0.97f;
    private static final float NEVER = 2;

    /** Called after a choice. */
    interface Listener {
        /** Search results may differ. Called on the main thread. */
        void changed();

        /** The photos to index changed. Called on the worker thread. */
        void foldersChanged() throws IOException;
    }

    private final Activity screen;
    private final PhotoSearch search;
    private final Listener listener;
    /** Shared by all screens: they apply to the whole app. */
    private static volatile boolean stacks = true;
    private static volatile boolean onlyCharging;

    Choices(Activity screen, PhotoSearch search, Listener listener) {
        this.screen = screen;
        this.search = search;
        this.listener = listener;
        DemoApp.WORKER.execute(() -> {
            stacks = kept().getBoolean(DUPLICATES, true);
            onlyCharging = MediaSearch.isOnlyWhileCharging(screen);
            apply();
        });
    }

    /** Tick the chosen items. */
    void show(Menu menu) {
        menu.findItem(R.id.stack_duplicates).setChecked(stacks);
        menu.findItem(R.id.only_charging).setChecked(onlyCharging);
    }

    /** Handle a menu item; false if it is not one of these choices. */
    boolean choose(MenuItem item) {
        int id = item.getItemId();
        if (id == R.id.folders) {
            askForFolders();
        } else if (id == R.id.stack_duplicates) {
            stacks = !item.isChecked();
            DemoApp.WORKER.execute(() -> kept().edit().putBoolean(DUPLICATES, stacks).apply());
            apply();
            listener.changed();
        } else if (id == R.id.only_charging) {
            chooseCharging(!item.isChecked());
        } else {
            return false;
        }
        return true;
    }

    boolean isOnlyCharging() {
        return onlyCharging;
    }

    void chooseCharging(boolean only) {
        onlyCharging = only;
        DemoApp.WORKER.execute(() -> MediaSearch.onlyWhileCharging(screen, only));
    }

    void askForFolders() {
        DemoApp.WORKER.execute(this::loadFolders);
    }

    private void loadFolders() {
        try {
            List<Album> albums = Album.of(search.folders());
            Folders chosen = search.chosenFolders();
            DemoApp.SCREEN.post(() -> FolderDialog.index(screen, albums, chosen));
        } catch (IOException | RuntimeException error) {
            Messages.showError(screen, error);
        }
    }

    void choose(Folders folders) {
        DemoApp.WORKER.execute(() -> {
            try {
                search.chooseFolders(folders);
                listener.foldersChanged();
            } catch (IOException | RuntimeException error) {
                Messages.showError(screen, error);
            }
        });
    }

    private void apply() {
        search.stackDuplicates(stacks ? SAME : NEVER);
    }

    private SharedPreferences kept() {
        return screen.getSharedPreferences("choices", Activity.MODE_PRIVATE);
    }
}
