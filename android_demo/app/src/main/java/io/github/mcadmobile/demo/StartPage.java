package io.github.mcadmobile.demo;

import android.app.Activity;
import android.content.Context;
import android.content.SharedPreferences;
import android.content.res.Configuration;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.AbsListView;
import android.widget.GridView;
import android.widget.TextView;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.PhotoSearch;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Shown on a search screen before the user types: the latest photos, during a run those that can be searched, with the month of those in view, and suggested
 * queries: earlier ones, and examples that work well on these photos.
 */
final class StartPage {
    private static final String HISTORY = "history";
    private static final String BETWEEN = "\n";
    private static final int KEPT = 8;
    private static final int EXAMPLES = 5;

    private final Activity screen;
    private final PhotoSearch search;
    private final ResultGrid grid;
    private final Consumer<String> touched;
    private List<PhotoLibrary.Item> photos = Collections.emptyList();
    private boolean shown;
    /** Worker thread only. Kept for the process, since photos change slowly. */
    private static List<String> examples = Collections.emptyList();

    /** {@code touched} receives the suggested query that the user taps. */
    StartPage(Activity screen, PhotoSearch search, ResultGrid grid, Consumer<String> touched) {
        this.screen = screen;
        this.search = search;
        this.grid = grid;
        this.touched = touched;
        GridView view = screen.findViewById(R.id.grid);
        view.setOnScrollListener(new AbsListView.OnScrollListener() {
            @Override
            public void onScrollStateChanged(AbsListView any, int state) {}

            @Override
            public void onScroll(AbsListView any, int first, int visible, int total) {
                showMonth(first);
            }
        });
    }

    /** Main thread only; appears once it is loaded. */
    void show(Filter filter) {
        if (shown) {
            return;
        }
        shown = true;
        DemoApp.WORKER.execute(() -> {
            try {
                List<PhotoLibrary.Item> recent = search.isIndexing() ? search.searchable(DemoApp.RESULTS, filter)
                    : search.recent(DemoApp.RESULTS, filter);
                show(recent, read());
                if (examples.isEmpty() && search.photos() > 0) {
                    examples = search.clearest(candidates(), EXAMPLES);
                    show(recent, read());
                }
            } catch (IOException | RuntimeException error) {
                Messages.log(error);
            }
        });
    }

    private void show(List<PhotoLibrary.Item> recent, List<String> words) {
        DemoApp.SCREEN.post(() -> {
            if (shown && !screen.isDestroyed()) {
                showPhotos(recent);
                showWords(words);
            }
        });
    }

    /** Photos may have changed: the next {@link #show} reads them again. */
    void refresh() {
        shown = false;
    }

    /** Something else is shown instead. */
    void hide() {
        shown = false;
        photos = Collections.emptyList();
        showWords(Collections.emptyList());
        screen.findViewById(R.id.month).setVisibility(View.GONE);
    }

    private void showPhotos(List<PhotoLibrary.Item> recent) {
        if (!recent.isEmpty() && recent.equals(photos)) {
            return; // they are on the screen
        }
        photos = recent;
        grid.show(found(recent));
        screen.findViewById(R.id.month).setVisibility(recent.isEmpty() ? View.GONE : View.VISIBLE);
        showMonth(0);
    }

    /** Photos as the results of a search that compares them with nothing. */
    static SearchEngine.Found found(List<PhotoLibrary.Item> items) {
        List<SearchEngine.Result> results = new ArrayList<>();
        for (PhotoLibrary.Item item : items) {
            results.add(new SearchEngine.Result(item.path(), 0, Collections.emptyList(),
                item.isVideo() ? 0 : Moments.NONE, Collections.emptyList(), Collections.emptyList()));
        }
        return new SearchEngine.Found(results, Collections.emptyMap(), false, Collections.emptyList());
    }

    private void showMonth(int first) {
        if (first < photos.size()) {
            ((TextView) screen.findViewById(R.id.month)).setText(Messages.month(photos.get(first).takenMs()));
        }
    }

    private void showWords(List<String> all) {
        ViewGroup row = screen.findViewById(R.id.words);
        row.removeAllViews();
        for (String words : all) {
            TextView button = (TextView) LayoutInflater.from(screen).inflate(R.layout.words, row, false);
            button.setText(words);
            button.setOnClickListener(view -> touched.accept(words));
            row.addView(button);
        }
    }

    /** Remember a query that the user chose, not one that was half typed. */
    void remember(String words) {
        String trimmed = words.trim();
        if (!trimmed.isEmpty()) {
            DemoApp.WORKER.execute(() -> {
                Set<String> history = new LinkedHashSet<>();
                history.add(trimmed);
                history.addAll(history());
                List<String> latest = new ArrayList<>(history).subList(0, Math.min(KEPT, history.size()));
                kept().edit().putString(HISTORY, String.join(BETWEEN, latest)).apply();
            });
        }
    }

    void forget() {
        DemoApp.WORKER.execute(() -> {
            kept().edit().putString(HISTORY, "").apply();
            show(photos, examples);
        });
    }

    /** Earlier queries, then the examples. */
    private List<String> read() {
        Set<String> words = new LinkedHashSet<>(history());
        words.addAll(examples);
        return new ArrayList<>(words);
    }

    private List<String> history() {
        String history = kept().getString(HISTORY, "");
        return history.isEmpty() ? Collections.emptyList() : Arrays.asList(history.split(BETWEEN));
    }

    private SharedPreferences kept() {
        return screen.getSharedPreferences("words", Context.MODE_PRIVATE);
    }

    /** Example queries in the student's language. */
    private List<String> candidates() throws IOException {
        Context context = screen;
        if (search.bundle().isEnglish()) {
            Configuration english = new Configuration();
            english.setLocale(Locale.ENGLISH);
            context = screen.createConfigurationContext(english);
        }
        return Arrays.asList(context.getResources().getStringArray(R.array.examples));
    }
}
