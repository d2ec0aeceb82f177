package io.github.mcadmobile.demo;

import android.app.Activity;
import android.os.Bundle;
import android.view.MenuItem;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.Album;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.Period;
import io.github.mcadmobile.gallery.PhotoSearch;
import java.io.IOException;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What the user chose to search on a screen: albums, a period, photos or videos, a place, and what photos show or their
 * words alone. It lasts as long as the screen.
 */
final class Filters {
    private static final String FOLDERS = "io.github.mcadmobile.demo.FOLDERS";
    private static final String FROM = "io.github.mcadmobile.demo.FROM";
    private static final String UNTIL = "io.github.mcadmobile.demo.UNTIL";
    private static final String KIND = "io.github.mcadmobile.demo.KIND";
    private static final String PLACE = "io.github.mcadmobile.demo.PLACE";
    private static final String BY = "io.github.mcadmobile.demo.BY";
    /** In the order of {@link Filter.Kind}. */
    private static final int[] KINDS = {R.id.any_kind, R.id.photos, R.id.videos};
    /** In the order of {@link SearchEngine.Channel}. */
    private static final int[] CHANNELS = {R.id.by_both, R.id.by_content, R.id.by_words};
    /** In the order of {@link Period}. */
    private static final int[] PERIODS = {
        R.id.any_time, R.id.last_week, R.id.last_month, R.id.this_year, R.id.last_year};

    private final Activity screen;
    private final PhotoSearch search;
    private final Runnable changed;
    private volatile Filter filter = Filter.ALL;
    private volatile SearchEngine.Channel by = SearchEngine.Channel.BOTH;

    /** {@code changed} is called on the main thread after a choice. */
    Filters(Activity screen, PhotoSearch search, Bundle saved, Runnable changed) {
        this.screen = screen;
        this.search = search;
        this.changed = changed;
        if (saved != null && saved.getStringArray(FOLDERS) != null) {
            filter = new Filter(new HashSet<>(Arrays.asList(saved.getStringArray(FOLDERS))),
                saved.getLong(FROM, Long.MIN_VALUE), saved.getLong(UNTIL, Long.MAX_VALUE))
                .of(Filter.Kind.values()[saved.getInt(KIND, 0)]).at(saved.getString(PLACE));
            by = SearchEngine.Channel.values()[saved.getInt(BY, 0)];
        }
    }

    void save(Bundle saved) {
        saved.putStringArray(FOLDERS, filter.folders().toArray(new String[0]));
        saved.putLong(FROM, filter.fromMs());
        saved.putLong(UNTIL, filter.untilMs());
        saved.putInt(KIND, filter.kind().ordinal());
        saved.putString(PLACE, filter.place());
        saved.putInt(BY, by.ordinal());
    }

    Filter filter() {
        return filter;
    }

    SearchEngine.Channel by() {
        return by;
    }

    /** Handle a menu item; false if it is no filter. */
    boolean choose(MenuItem item) {
        for (int i = 0; i < PERIODS.length; i++) {
            if (item.getItemId() == PERIODS[i]) {
                use(Period.values()[i].of(filter, LocalDate.now(), ZoneId.systemDefault()));
                return true;
            }
        }
        for (int i = 0; i < KINDS.length; i++) {
            if (item.getItemId() == KINDS[i]) {
                use(filter.of(Filter.Kind.values()[i]));
                return true;
            }
        }
        for (int i = 0; i < CHANNELS.length; i++) {
            if (item.getItemId() == CHANNELS[i]) {
                by = SearchEngine.Channel.values()[i];
                changed.run();
                return true;
            }
        }
        if (item.getItemId() == R.id.between) {
            DayDialog.show(screen, null);
        } else if (item.getItemId() == R.id.albums) {
            DemoApp.WORKER.execute(this::loadAlbums);
        } else if (item.getItemId() == R.id.place) {
            PlaceDialog.show(screen, filter.place());
        } else {
            return false;
        }
        return true;
    }

    void choose(Set<String> folders) {
        use(filter.inFolders(folders));
    }

    void choose(LocalDate first, LocalDate last) {
        use(filter.taken(first, last, ZoneId.systemDefault()));
    }

    void choose(String place) {
        use(filter.at(place));
    }

    void clear() {
        by = SearchEngine.Channel.BOTH;
        use(Filter.ALL);
    }

    /** The filter as text; empty without one. */
    String text() {
        List<String> parts = new ArrayList<>();
        if (filter.kind() != Filter.Kind.ANY) {
            boolean videos = filter.kind() == Filter.Kind.VIDEO;
            parts.add(screen.getString(videos ? R.string.only_videos : R.string.only_photos));
        }
        if (!filter.folders().isEmpty()) {
            int count = filter.folders().size();
            parts.add(screen.getResources().getQuantityString(R.plurals.in_albums, count, count));
        }
        if (filter.isTimed()) {
            String first = Messages.day(filter.fromMs());
            parts.add(filter.untilMs() == Long.MAX_VALUE ? screen.getString(R.string.taken_since, first)
                : screen.getString(R.string.taken, first, Messages.day(filter.untilMs() - 1)));
        }
        if (!filter.place().isEmpty()) {
            parts.add(filter.place());
        }
        if (by != SearchEngine.Channel.BOTH) {
            parts.add(screen.getString(by == SearchEngine.Channel.WORDS ? R.string.only_words : R.string.only_content));
        }
        return parts.isEmpty() ? "" : screen.getString(R.string.filtered, String.join(", ", parts));
    }

    private void use(Filter chosen) {
        filter = chosen;
        changed.run();
    }

    private void loadAlbums() {
        try {
            Map<String, Integer> folders = search.folders();
            folders.keySet().removeIf(folder -> !search.chosenFolders().takes(folder));
            List<Album> albums = Album.of(folders);
            DemoApp.SCREEN.post(() -> FolderDialog.search(screen, albums, filter.folders()));
        } catch (IOException | RuntimeException error) {
            Messages.showError(screen, error);
        }
    }
}
