package mcad.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.content.SharedPreferences;
import android.view.Menu;
import android.view.MenuItem;
import java.io.IOException;
import java.util.List;
import mcad.gallery.Album;
import mcad.gallery.Folders;
import mcad.gallery.PhotoSearch;
import mcad.platform.MediaSearch;

/** The user's saved choices in the menu. */
final class Choices {
    private static final String DUPLICATES = "hide-duplicates";
    /** As `mcad-mobile search --duplicates 0.97` counts them. */
    private static final float SAME = 0.97f;
    private static final float NEVER = 2;

    /** Called on the screen's thread after a choice. */
    interface Listener {
        /** Searches find something else. */
        void changed();

        /** Other photos are to be indexed. */
        void foldersChanged();
    }

    private final Activity screen;
    private final PhotoSearch search;
    private final Listener listener;

    Choices(Activity screen, PhotoSearch search, Listener listener) {
        this.screen = screen;
        this.search = search;
        this.listener = listener;
        apply();
    }

    /** Tick what is chosen. */
    void show(Menu menu) {
        menu.findItem(R.id.hide_duplicates).setChecked(hidesDuplicates());
        menu.findItem(R.id.only_charging).setChecked(MediaSearch.isOnlyWhileCharging(screen));
    }

    /** The user has chosen; false for another item. */
    boolean choose(MenuItem item) {
        int id = item.getItemId();
        if (id == R.id.folders) {
            DemoApp.WORKER.execute(this::loadFolders);
        } else if (id == R.id.hide_duplicates) {
            item.setChecked(!item.isChecked());
            kept().edit().putBoolean(DUPLICATES, item.isChecked()).apply();
            applyAndTell();
        } else if (id == R.id.only_charging) {
            boolean only = !item.isChecked();
            item.setChecked(only);
            DemoApp.WORKER.execute(() -> MediaSearch.onlyWhileCharging(screen, only));
        } else {
            return false;
        }
        return true;
    }

    private void loadFolders() {
        try {
            List<Album> albums = Album.of(search.folders());
            DemoApp.SCREEN.post(() -> {
                if (!screen.isDestroyed()) {
                    chooseFolders(albums);
                }
            });
        } catch (IOException | RuntimeException error) {
            Words.showError(screen, error);
        }
    }

    private void chooseFolders(List<Album> albums) {
        FolderList list = new FolderList(screen, albums, search.chosenFolders()::takes);
        list.ask(R.string.folders)
            .setPositiveButton(R.string.and_new_folders, (dialog, which) -> choose(new Folders(false, list.unticked())))
            .setNeutralButton(R.string.only_these, (dialog, which) -> choose(new Folders(true, list.ticked())))
            .setNegativeButton(android.R.string.cancel, null).show();
    }

    private void choose(Folders folders) {
        DemoApp.WORKER.execute(() -> {
            try {
                search.chooseFolders(folders);
                DemoApp.SCREEN.post(listener::foldersChanged);
            } catch (IOException | RuntimeException error) {
                Words.showError(screen, error);
            }
        });
    }

    private void applyAndTell() {
        apply();
        listener.changed();
    }

    private void apply() {
        search.hideDuplicates(hidesDuplicates() ? SAME : NEVER);
    }

    private boolean hidesDuplicates() {
        return kept().getBoolean(DUPLICATES, false);
    }

    private SharedPreferences kept() {
        return screen.getSharedPreferences("choices", Activity.MODE_PRIVATE);
    }
}
