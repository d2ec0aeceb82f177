package mcad.demo;

import android.content.Context;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.BaseAdapter;
import android.widget.ImageView;
import java.util.Collections;
import java.util.List;
import mcad.engine.SearchEngine;

/** The tiles of the grid. */
final class ResultGrid extends BaseAdapter {
    private final Context context;
    private final Thumbnails thumbnails;
    private List<SearchEngine.Result> all = Collections.emptyList();
    private List<SearchEngine.Result> results = Collections.emptyList();

    ResultGrid(Context context, Thumbnails thumbnails) {
        this.context = context;
        this.thumbnails = thumbnails;
    }

    void show(List<SearchEngine.Result> found) {
        all = found;
        results = found;
        notifyDataSetChanged();
    }

    /** Those that match. */
    void show(SearchEngine.Found found) {
        all = found.results();
        results = all.subList(0, found.matches());
        notifyDataSetChanged();
    }

    /** Those that do not, too. */
    void showAll() {
        show(all);
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
