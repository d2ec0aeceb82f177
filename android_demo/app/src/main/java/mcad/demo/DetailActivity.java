package mcad.demo;

import android.app.Activity;

/** A screen that a search leads to. */
abstract class DetailActivity extends Activity {
    /** To that search: Android's own way up would begin another. */
    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }
}
