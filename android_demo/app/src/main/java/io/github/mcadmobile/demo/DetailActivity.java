package io.github.mcadmobile.demo;

import android.app.Activity;

/** A screen opened from a search. */
abstract class DetailActivity extends Activity {
    /** Return to that search: Android's default would start another. */
    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }
}
