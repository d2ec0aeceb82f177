package mcad.demo;

import android.content.Context;
import android.content.SharedPreferences;
import android.view.Menu;
import android.view.MenuItem;
import mcad.engine.gallery.PhotoSearch;
import mcad.platform.MediaSearch;

/** What the user may choose in the menu; it is kept. */
final class Choices {
    private static final String DUPLICATES = "hide-duplicates";
    /** As `mcad-mobile search --duplicates 0.97` counts them. */
    private static final float SAME = 0.97f;
    private static final float NEVER = 2;

    private final Context context;
    private final PhotoSearch search;

    Choices(Context context, PhotoSearch search) {
        this.context = context;
        this.search = search;
        apply();
    }

    /** Tick what is chosen. */
    void show(Menu menu) {
        menu.findItem(R.id.hide_duplicates).setChecked(hidesDuplicates());
        menu.findItem(R.id.only_charging).setChecked(MediaSearch.isOnlyWhileCharging(context));
    }

    /** The user has chosen; false for another item. */
    boolean choose(MenuItem item) {
        boolean chosen = !item.isChecked();
        if (item.getItemId() == R.id.hide_duplicates) {
            kept().edit().putBoolean(DUPLICATES, chosen).apply();
            apply();
        } else if (item.getItemId() == R.id.only_charging) {
            DemoApp.WORKER.execute(() -> MediaSearch.onlyWhileCharging(context, chosen));
        } else {
            return false;
        }
        item.setChecked(chosen);
        return true;
    }

    private void apply() {
        search.hideDuplicates(hidesDuplicates() ? SAME : NEVER);
    }

    private boolean hidesDuplicates() {
        return kept().getBoolean(DUPLICATES, false);
    }

    private SharedPreferences kept() {
        return context.getSharedPreferences("choices", Context.MODE_PRIVATE);
    }
}
