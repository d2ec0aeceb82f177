package mcad.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.DatePickerDialog;
import android.os.Bundle;
import android.view.MenuItem;
import java.io.IOException;
import java.time.Instant;
import java.time.LocalDate;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import mcad.gallery.Album;
import mcad.gallery.Filter;
import mcad.gallery.Period;
import mcad.gallery.PhotoSearch;

/** Among which photos a screen searches, as the user chose: some albums, some time. It lasts as long as the screen. */
final class Filters {
    private static final String FOLDERS = "mcad.demo.FOLDERS";
    private static final String FROM = "mcad.demo.FROM";
    private static final String UNTIL = "mcad.demo.UNTIL";
    private static final int[] PERIODS = {
        R.string.any_time, R.string.last_week, R.string.last_month, R.string.this_year, R.string.last_year};

    private final Activity screen;
    private final PhotoSearch search;
    private final Runnable changed;
    private volatile Filter filter = Filter.ALL;

    /** {@code changed} is called on the screen's thread when the user has chosen. */
    Filters(Activity screen, PhotoSearch search, Bundle saved, Runnable changed) {
        this.screen = screen;
        this.search = search;
        this.changed = changed;
        if (saved != null && saved.getStringArray(FOLDERS) != null) {
            filter = new Filter(new HashSet<>(Arrays.asList(saved.getStringArray(FOLDERS))),
                saved.getLong(FROM, Long.MIN_VALUE), saved.getLong(UNTIL, Long.MAX_VALUE));
        }
    }

    void save(Bundle saved) {
        saved.putStringArray(FOLDERS, filter.folders().toArray(new String[0]));
        saved.putLong(FROM, filter.fromMs());
        saved.putLong(UNTIL, filter.untilMs());
    }

    Filter filter() {
        return filter;
    }

    /** False for an item that is of something else. */
    boolean choose(MenuItem item) {
        if (item.getItemId() == R.id.albums) {
            DemoApp.WORKER.execute(this::loadAlbums);
        } else if (item.getItemId() == R.id.time) {
            choosePeriod();
        } else {
            return false;
        }
        return true;
    }

    void clear() {
        use(Filter.ALL);
    }

    /** The filter in words; empty without one. */
    String text() {
        List<String> parts = new ArrayList<>();
        if (!filter.folders().isEmpty()) {
            int count = filter.folders().size();
            parts.add(screen.getResources().getQuantityString(R.plurals.in_albums, count, count));
        }
        if (filter.isTimed()) {
            parts.add(screen.getString(R.string.taken,
                filter.fromMs() == Long.MIN_VALUE ? screen.getString(R.string.any_time) : day(filter.fromMs()),
                filter.untilMs() == Long.MAX_VALUE ? screen.getString(R.string.today) : day(filter.untilMs() - 1)));
        }
        return parts.isEmpty() ? "" : screen.getString(R.string.filtered, String.join(", ", parts));
    }

    private static String day(long ms) {
        return Instant.ofEpochMilli(ms).atZone(ZoneId.systemDefault()).toLocalDate()
            .format(DateTimeFormatter.ofLocalizedDate(FormatStyle.MEDIUM));
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
            DemoApp.SCREEN.post(() -> {
                if (!screen.isDestroyed()) {
                    chooseAlbums(albums);
                }
            });
        } catch (IOException | RuntimeException error) {
            Words.showError(screen, error);
        }
    }

    private void chooseAlbums(List<Album> albums) {
        FolderList list = new FolderList(screen, albums, filter.folders()::contains);
        list.ask(R.string.albums).setPositiveButton(android.R.string.ok, (dialog, which) -> use(filter.in(list.ticked())))
            .setNegativeButton(android.R.string.cancel, null).show();
    }

    private void choosePeriod() {
        String[] names = new String[PERIODS.length + 1];
        for (int i = 0; i < PERIODS.length; i++) {
            names[i] = screen.getString(PERIODS[i]);
        }
        names[PERIODS.length] = screen.getString(R.string.between);
        new AlertDialog.Builder(screen).setTitle(R.string.time).setItems(names, (dialog, which) -> {
            if (which < PERIODS.length) {
                use(Period.values()[which].of(filter, LocalDate.now(), ZoneId.systemDefault()));
            } else {
                chooseDays();
            }
        }).show();
    }

    /** The first day, then the last. */
    private void chooseDays() {
        LocalDate today = LocalDate.now();
        askForDay(R.string.first_day, today.minusDays(29), first -> askForDay(R.string.last_day, today,
            last -> use(filter.taken(first, last.isBefore(first) ? first : last, ZoneId.systemDefault()))));
    }

    private void askForDay(int title, LocalDate proposed, Consumer<LocalDate> then) {
        DatePickerDialog dialog = new DatePickerDialog(screen,
            (picker, year, month, day) -> then.accept(LocalDate.of(year, month + 1, day)), // it counts months from 0
            proposed.getYear(), proposed.getMonthValue() - 1, proposed.getDayOfMonth());
        dialog.setTitle(title);
        dialog.show();
    }
}
