package mcad.demo;

import android.app.Activity;
import android.app.AlertDialog;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import mcad.gallery.Album;

/** A list of folders to tick. */
final class FolderList {
    private final Activity screen;
    private final List<Album> albums;
    private final boolean[] ticks;

    FolderList(Activity screen, List<Album> albums, Predicate<String> ticked) {
        this.screen = screen;
        this.albums = albums;
        ticks = new boolean[albums.size()];
        for (int i = 0; i < ticks.length; i++) {
            ticks[i] = ticked.test(albums.get(i).folder());
        }
    }

    AlertDialog.Builder ask(int title) {
        String[] names = new String[albums.size()];
        for (int i = 0; i < names.length; i++) {
            names[i] = screen.getString(R.string.album, albums.get(i).name(), albums.get(i).photos());
        }
        return new AlertDialog.Builder(screen).setTitle(title)
            .setMultiChoiceItems(names, ticks, (dialog, which, chosen) -> ticks[which] = chosen);
    }

    Set<String> ticked() {
        return those(true);
    }

    Set<String> unticked() {
        return those(false);
    }

    private Set<String> those(boolean tick) {
        Set<String> folders = new HashSet<>();
        for (int i = 0; i < ticks.length; i++) {
            if (ticks[i] == tick) {
                folders.add(albums.get(i).folder());
            }
        }
        return folders;
    }
}
