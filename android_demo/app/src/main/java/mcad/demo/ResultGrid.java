package mcad.demo;

import android.content.Context;
import android.os.Bundle;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.GridView;
import android.widget.ImageView;
import java.util.Collections;
import java.util.List;
import mcad.engine.SearchEngine;

/** The tiles of the grid; where it stands, and whether the less likely are shown, outlives a screen that is turned. */
final class ResultGrid extends BaseAdapter {
    private static final String ROW = "mcad.demo.ROW";
    private static final String ALL = "mcad.demo.ALL";

    private final Context context;
    private final Thumbnails thumbnails;
    private final GridView grid;
    /** Where the grid stood before the screen was turned; -1 once it stands there again. */
    private int row;
    private boolean showsAll;
    private List<SearchEngine.Result> all = Collections.emptyList();
    private List<SearchEngine.Result> results = Collections.emptyList();

    ResultGrid(Context context, GridView grid, Thumbnails thumbnails, Bundle saved) {
        this.context = context;
        this.grid = grid;
        this.thumbnails = thumbnails;
        row = saved == null ? -1 : saved.getInt(ROW, -1);
        showsAll = saved != null && saved.getBoolean(ALL, false);
        grid.setAdapter(this);
    }

    void save(Bundle saved) {
        saved.putInt(ROW, row < 0 ? grid.getFirstVisiblePosition() : row);
        saved.putBoolean(ALL, showsAll);
    }

    void clear() {
        show(Collections.emptyList(), 0);
    }

    /** Those that match; after the screen was turned what it showed before. Whether there are less likely ones behind. */
    boolean show(SearchEngine.Found found) {
        boolean turned = row >= 0;
        showsAll &= turned;
        show(found.results(), showsAll ? found.results().size() : found.matches());
        grid.setSelection(Math.max(row, 0));
        row = -1;
        return results.size() < all.size();
    }

    /** Those that do not match, too. */
    void showAll() {
        showsAll = true;
        show(all, all.size());
    }

    private void show(List<SearchEngine.Result> found, int count) {
        all = found;
        results = found.subList(0, count);
        notifyDataSetChanged();
    }

    String path(int position) {
        return results.get(position).path();
    }

    @Override
    public int getCount() {
        return results.size();
    }

    @Override
    public Object getItem(int position) {
        return results.get(position);
    }

    @Override
    public long getItemId(int position) {
        return position;
    }

    @Override
    public View getView(int position, View old, ViewGroup parent) {
        ImageView tile = old instanceof ImageView image
            ? image
            : (ImageView) LayoutInflater.from(context).inflate(R.layout.tile, parent, false);
        describe(tile, position, "");
        thumbnails.show(tile, path(position), (view, name) -> describe(view, position, name));
        return tile;
    }

    /** What a screen reader says: a photo has no words of its own but its name. */
    private void describe(ImageView tile, int position, String name) {
        if (position < results.size()) {
            int percent = Math.round(100 * results.get(position).score());
            tile.setContentDescription(
                context.getString(R.string.result, position + 1, results.size(), percent, name));
        }
    }
}
