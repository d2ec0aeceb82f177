package io.github.mcadmobile.demo;

import android.app.Activity;
import android.os.Bundle;
import android.view.Menu;
import android.view.View;
import android.widget.PopupMenu;
import android.widget.TextView;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.Album;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.NamedPeriod;
import io.github.mcadmobile.gallery.Period;
import io.github.mcadmobile.gallery.PhotoSearch;
import java.io.IOException;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.IntConsumer;

/**
 * What the user chose to search on a screen: albums, a period, photos or videos, a place, and what photos show or their
 * words alone. Each has a chip. It lasts as long as the screen.
 */
final class Filters {
    private static final String FOLDERS = "io.github.mcadmobile.demo.FOLDERS";
    private static final String FROM = "io.github.mcadmobile.demo.FROM";
    private static final String UNTIL = "io.github.mcadmobile.demo.UNTIL";
    private static final String KIND = "io.github.mcadmobile.demo.KIND";
    private static final String PLACE = "io.github.mcadmobile.demo.PLACE";
    private static final String BY = "io.github.mcadmobile.demo.BY";
    /** In the order of {@link Filter.Kind}, after the first. */
    private static final int[] KINDS = {R.string.kind_photos, R.string.kind_videos};
    /** In the order of {@link SearchEngine.Channel}, after the first. */
    private static final int[] CHANNELS = {R.string.by_content, R.string.by_words};
    /** In the order of {@link Period}, after the first; then days that the user chooses. */
    private static final int[] PERIODS = {
        R.string.last_week, R.string.last_month, R.string.this_year, R.string.last_year, R.string.between};

    private final Activity screen;
    private final PhotoSearch search;
    private final Runnable changed;
    private volatile Filter filter = Filter.ALL;
    private volatile SearchEngine.Channel by = SearchEngine.Channel.BOTH;
    /** Words in which the user wants no year or month to be a filter. */
    private volatile String asTheyAre = "";

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
        chip(R.id.albums, chip -> DemoApp.WORKER.execute(this::loadAlbums), () -> use(filter.inFolders(Set.of())));
        chip(R.id.kind, chip -> offer(chip, KINDS, which -> use(filter.of(Filter.Kind.values()[which + 1]))),
            () -> use(filter.of(Filter.Kind.ANY)));
        chip(R.id.place, chip -> new PlaceDialog().show(screen.getFragmentManager(), "place"), () -> use(filter.at("")));
        chip(R.id.by, chip -> offer(chip, CHANNELS, which -> use(SearchEngine.Channel.values()[which + 1])),
            () -> use(SearchEngine.Channel.BOTH));
        show("");
    }

    /** A tap on a chip offers its filters, or removes the one that it shows. */
    private void chip(int id, Consumer<View> choose, Runnable remove) {
        screen.findViewById(id).setOnClickListener(chip -> {
            if (chip.isSelected()) {
                remove.run();
            } else {
                choose.accept(chip);
            }
        });
    }

    private void offer(View chip, int[] names, IntConsumer chosen) {
        PopupMenu menu = new PopupMenu(screen, chip);
        for (int i = 0; i < names.length; i++) {
            menu.getMenu().add(Menu.NONE, i, i, names[i]);
        }
        menu.setOnMenuItemClickListener(item -> {
            chosen.accept(item.getItemId());
            return true;
        });
        menu.show();
    }

    private void choosePeriod(int which) {
        if (PERIODS[which] == R.string.between) {
            DayDialog.show(screen, null);
        } else {
            use(Period.values()[which + 1].of(filter, LocalDate.now(), ZoneId.systemDefault()));
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

    /** The period that words name; null if there is none, or the user chose another or wants the words as they are. */
    NamedPeriod named(String words) {
        return filter.isTimed() || words.equals(asTheyAre) ? null
            : NamedPeriod.of(words, List.of(Locale.getDefault(), Locale.ENGLISH), LocalDate.now());
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

    /** Show the filters of a search for these words. */
    void show(String words) {
        NamedPeriod named = named(words);
        chip(R.id.time, chip -> offer(chip, PERIODS, this::choosePeriod), () -> {
            asTheyAre = words;
            choose(null, null);
        });
        int folders = filter.folders().size();
        show(R.id.albums, folders == 1 ? Album.name(filter.folders().iterator().next()) : folders == 0 ? ""
            : screen.getResources().getQuantityString(R.plurals.in_albums, folders, folders));
        String first = filter.isTimed() ? Messages.day(filter.fromMs()) : "";
        show(R.id.time, named != null ? Messages.period(named) : !filter.isTimed() ? ""
            : filter.untilMs() == Long.MAX_VALUE ? screen.getString(R.string.taken_since, first)
                : screen.getString(R.string.taken, first, Messages.day(filter.untilMs() - 1)));
        show(R.id.kind, filter.kind() == Filter.Kind.ANY ? "" : screen.getString(KINDS[filter.kind().ordinal() - 1]));
        show(R.id.place, filter.place());
        show(R.id.by, by == SearchEngine.Channel.BOTH ? "" : screen.getString(CHANNELS[by.ordinal() - 1]));
    }

    /** Without a value, a chip shows its hint. */
    private void show(int id, String value) {
        TextView chip = screen.findViewById(id);
        chip.setText(value);
        chip.setSelected(!value.isEmpty());
        chip.setContentDescription(value.isEmpty() ? null : screen.getString(R.string.filtered, value));
    }

    private void use(Filter chosen) {
        filter = chosen;
        changed.run();
    }

    private void use(SearchEngine.Channel chosen) {
        by = chosen;
        changed.run();
    }

    private void loadAlbums() {
        try {
            Map<String, Integer> folders = search.folders();
            folders.keySet().removeIf(folder -> !search.chosenFolders().takes(folder));
            List<Album> albums = Album.of(folders);
            DemoApp.SCREEN.post(() -> FolderDialog.search(screen, albums));
        } catch (IOException | RuntimeException error) {
            Messages.showError(screen, error);
        }
    }
}
