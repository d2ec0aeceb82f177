package io.github.mcadmobile.sample;

import android.app.Activity;
import android.os.Build;
import android.os.Bundle;
import android.view.inputmethod.EditorInfo;
import android.widget.EditText;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.MediaSearch;
import java.io.IOException;

/** All that an app needs to search its user's photos: the results replace the typed text. */
public final class SampleActivity extends Activity {
    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        EditText query = new EditText(this);
        query.setSingleLine(); // several lines get a key for a new line, and none to search
        query.setImeOptions(EditorInfo.IME_ACTION_SEARCH);
        query.setOnEditorActionListener((view, action, event) -> search(query));
        setContentView(query);
        if (saved == null) { // not again when the screen turns
            requestPermissions(PhotoAccess.toRequest(Build.VERSION.SDK_INT), 1);
        }
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] answers) {
        if (new MediaPhotos(this).access() != PhotoAccess.State.NONE) {
            MediaSearch.indexNow(this);
        }
    }

    private boolean search(EditText query) {
        String words = query.getText().toString();
        new Thread(() -> {
            String best;
            try {
                best = MediaSearch.of(this).search(words, 1).results().toString();
            } catch (IOException error) {
                best = error.getMessage();
            }
            String text = best;
            query.post(() -> query.setText(text));
        }).start();
        return true;
    }
}
