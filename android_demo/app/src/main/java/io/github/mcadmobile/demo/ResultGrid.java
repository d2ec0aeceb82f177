package io.github.mcadmobile.demo;

import android.content.Context;
import android.os.Bundle;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.GridView;
import android.widget.ImageView;
import android.widget.TextView;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.gallery.ShownResults;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** The tiles of the grid. */
final class ResultGrid extends BaseAdapter {
    private static final float FAINT = 0.5f;
    private static final String ROW = "io.github.mcadmobile.demo.ROW";
    private static final String SELECTABLE = "io.github.mcadmobile.demo.SELECTABLE";

    private final Context context;
    private final Thumbnails thumbnails;
    private final GridView grid;
    private final ShownResults shown;
    private int lessNear;
    /** The paths at the positions of a selection. A turned screen restores the selection before it shows photos. */
    private String[] selectable;

    ResultGrid(Context context, GridView grid, Thumbnails thumbnails, Bundle saved) {
        this.context = context;
        this.grid = grid;
        this.thumbnails = thumbnails;
        shown = saved == null ? new ShownResults() : new ShownResults(saved.getInt(ROW, 0));
        selectable = saved == null ? null : saved.getStringArray(SELECTABLE);
        grid.setAdapter(this);
    }

    void save(Bundle saved) {
        saved.putInt(ROW, shown.row(grid.getFirstVisiblePosition()));
        if (grid.getCheckedItemCount() > 0) {
            saved.putStringArray(SELECTABLE, paths());
        }
    }

    /** The same search follows: its results are shown from the same row on. */
    void stay() {
        shown.stay(grid.getFirstVisiblePosition());
    }

    void clear() {
        shown.clear();
        changed();
    }

    void show(SearchEngine.Found found) {
        int row = shown.show(found);
        lessNear = shown.lessNear();
        changed();
        // After a touch, the layout that follows new data goes back to the old place.
        grid.post(() -> grid.setSelection(row));
    }

    /** A selection is of positions: it ends when they show other photos. */
    private void changed() {
        String[] paths = paths();
        if (!Arrays.equals(paths, selectable)) {
            grid.setChoiceMode(grid.getChoiceMode()); // ends the action mode
        }
        selectable = paths;
        notifyDataSetChanged();
    }

    String[] paths() {
        String[] paths = new String[shown.results().size()];
        Arrays.setAll(paths, this::path);
        return paths;
    }

    /** The paths of all results, those on the stack at a position, too. */
    String[] paths(int open) {
        List<String> paths = new ArrayList<>(Arrays.asList(paths()));
        List<String> copies = shown.results().get(open).copies();
        // An intent has room for a megabyte.
        paths.addAll(open + 1, copies.subList(0, Math.min(copies.size(), DemoApp.RESULTS)));
        return paths.toArray(new String[0]);
    }

    /** Why each photo was found, if by its words. */
    Bundle why() {
        Bundle all = new Bundle();
        for (SearchEngine.Result result : shown.results()) {
            Why.of(result).save(all, result.row());
        }
        return all;
    }

    /** The path, or that of a video's moment. */
    String path(int position) {
        return shown.results().get(position).row();
    }

    @Override
    public int getCount() {
        return shown.results().size();
    }

    @Override
    public Object getItem(int position) {
        return shown.results().get(position);
    }

    @Override
    public long getItemId(int position) {
        return position;
    }

    @Override
    public View getView(int position, View old, ViewGroup parent) {
        View tile = old != null ? old : LayoutInflater.from(context).inflate(R.layout.tile, parent, false);
        int copies = shown.results().get(position).copies().size();
        TextView count = tile.findViewById(R.id.copies);
        count.setText(String.format(Locale.getDefault(), "%d", copies + 1));
        count.setVisibility(copies > 0 ? View.VISIBLE : View.GONE);
        TextView length = tile.findViewById(R.id.length);
        length.setText("");
        length.setVisibility(Moments.ms(path(position)) == Moments.NONE ? View.GONE : View.VISIBLE);
        String why = why(position);
        TextView matched = tile.findViewById(R.id.matched);
        matched.setText(why);
        matched.setVisibility(why.isEmpty() ? View.GONE : View.VISIBLE);
        describe(tile, position, "");
        ImageView picture = tile.findViewById(R.id.picture);
        picture.setAlpha(position < lessNear ? 1 : FAINT);
        thumbnails.show(picture, path(position), loaded -> {
            length.setText(loaded.length());
            describe(tile, position, loaded.day());
        });
        return tile;
    }

    /** Why a photo was found; of the first that is less near, that it is. */
    private String why(int position) {
        return position == lessNear ? context.getString(R.string.less_near)
            : Why.of(shown.results().get(position)).text();
    }

    /** Set the text for screen readers: position and, if known, the day. */
    private void describe(View tile, int position, String day) {
        int photos = shown.results().size();
        if (position < photos) {
            String text = context.getString(
                R.string.result, position + 1, photos, Messages.describe(context, path(position), day));
            String why = why(position);
            text += why.isEmpty() ? "" : "\n" + why;
            int copies = shown.results().get(position).copies().size();
            tile.setContentDescription(copies == 0 ? text
                : context.getResources().getQuantityString(R.plurals.copies, copies, text, copies));
        }
    }
}
