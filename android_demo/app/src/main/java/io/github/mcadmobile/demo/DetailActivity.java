package io.github.mcadmobile.demo;

import android.app.Activity;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.util.Map;

/** A screen opened from a search. */
abstract class DetailActivity extends Activity {
    /** Return to that search: Android's default would start another. */
    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }

    /** Show values, each under its name. */
    final void showRows(Map<Integer, String> rows) {
        ViewGroup list = findViewById(R.id.rows);
        list.removeAllViews();
        rows.forEach((name, value) -> {
            View row = LayoutInflater.from(this).inflate(R.layout.row, list, false);
            ((TextView) row.findViewById(R.id.name)).setText(name);
            ((TextView) row.findViewById(R.id.value)).setText(value);
            list.addView(row);
        });
    }
}
