package mcad.demo;

import android.app.Activity;
import android.content.Intent;
import android.content.pm.PackageManager;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.os.Handler;
import android.provider.Settings;
import android.text.Editable;
import android.text.TextWatcher;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.view.inputmethod.EditorInfo;
import android.widget.Button;
import android.widget.EditText;
import android.widget.GridView;
import android.widget.TextView;
import java.io.IOException;
import java.util.Collections;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.gallery.PhotoAccess;
import mcad.engine.gallery.SearchBox;

/** The search box and the photos that it finds. */
public final class SearchActivity extends Activity implements SearchBox.Listener {
    /** The photo of the index whose like are asked for. */
    static final String LIKE = "mcad.demo.LIKE";

    private static final int ACCESS = 1;
    private static final String NOTIFICATIONS = "android.permission.POST_NOTIFICATIONS";

    private DemoEngine demo;
    private Gallery gallery;
    private Thumbnails thumbnails;
    private ResultGrid results;
    private SearchBox box;
    private TextView status;
    private View message;
    private boolean refused;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.search);
        demo = DemoEngine.of(this);
        gallery = new Gallery(this);
        thumbnails = new Thumbnails(this);
        results = new ResultGrid(this, thumbnails);
        status = findViewById(R.id.status);
        message = findViewById(R.id.message);
        GridView grid = findViewById(R.id.grid);
        grid.setAdapter(results);
        grid.setOnItemClickListener((parent, view, position, id) -> open(results.path(position)));
        findViewById(R.id.choose_more).setOnClickListener(view -> askForAccess());
        box = new SearchBox(new HandlerScheduler(demo.screen), demo.worker, demo.screen::post, demo::search, this);
        EditText query = findViewById(R.id.query);
        query.addTextChangedListener(new Typed());
        query.setOnEditorActionListener((view, action, event) -> {
            box.submit();
            return action == EditorInfo.IME_ACTION_SEARCH;
        });
        onNewIntent(getIntent());
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        String like = intent.getStringExtra(LIKE);
        if (like == null) {
            return;
        }
        box.forget();
        demo.worker.execute(() -> {
            try {
                SearchEngine.Found found = demo.moreLike(like);
                demo.screen.post(() -> {
                    setTitle(R.string.like_title);
                    found(getString(R.string.like_title), found);
                });
            } catch (IOException error) {
                demo.screen.post(() -> failed(like, error));
            }
        });
    }

    @Override
    protected void onResume() {
        super.onResume();
        demo.listen(this::showState);
        showState();
    }

    @Override
    protected void onPause() {
        demo.listen(null);
        super.onPause();
    }

    @Override
    protected void onDestroy() {
        box.forget();
        thumbnails.close();
        super.onDestroy();
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.search, menu);
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        if (item.getItemId() == R.id.index_now) {
            indexNow();
            return true;
        }
        if (item.getItemId() == R.id.show_numbers) {
            startActivity(new Intent(this, NumbersActivity.class));
            return true;
        }
        return super.onOptionsItemSelected(item);
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] answers) {
        if (request == ACCESS) {
            boolean none = gallery.access() == PhotoAccess.State.NONE;
            // Where Android would not ask again, only the settings are left.
            refused = none && permissions.length > 0 && !shouldShowRequestPermissionRationale(permissions[0]);
            if (!none) {
                indexNow();
            }
            showState();
        }
    }

    /** What there is to say while nothing was found yet: access, index, progress. */
    private void showState() {
        PhotoAccess.State access = gallery.access();
        findViewById(R.id.partial).setVisibility(access == PhotoAccess.State.SOME ? View.VISIBLE : View.GONE);
        if (access == PhotoAccess.State.NONE) {
            say(R.string.start_title, getString(refused ? R.string.denied : R.string.start_text),
                refused ? R.string.settings : R.string.allow, view -> {
                    if (refused) {
                        openSettings();
                    } else {
                        askForAccess();
                    }
                });
            return;
        }
        IndexJob.scheduleNightly(this);
        DemoEngine.Progress progress = demo.progress();
        if (progress.running()) {
            status.setText(getString(R.string.indexing_progress, progress.done(), progress.total()));
        }
        demo.worker.execute(() -> {
            try {
                int photos = demo.index().photos();
                demo.engine();
                demo.screen.post(() -> showCount(photos, progress));
            } catch (IOException error) {
                demo.screen.post(() -> failed("", error));
            }
        });
    }

    private void showCount(int photos, DemoEngine.Progress progress) {
        if (!progress.failure().isEmpty()) {
            say(R.string.app_name, getString(R.string.failed, progress.failure()), R.string.try_again,
                view -> indexNow());
        } else if (photos == 0 && !progress.running()) {
            int why = progress.finished() ? R.string.no_photos : R.string.not_indexed;
            say(R.string.start_title, getString(why), R.string.index_now, view -> indexNow());
        } else if (results.getCount() == 0) {
            message.setVisibility(View.GONE);
            if (!progress.running()) {
                status.setText(getString(R.string.indexed, photos));
            }
        }
    }

    private void say(int title, String text, int button, View.OnClickListener action) {
        ((TextView) findViewById(R.id.message_title)).setText(title);
        ((TextView) findViewById(R.id.message_text)).setText(text);
        Button press = findViewById(R.id.message_button);
        press.setText(button);
        press.setOnClickListener(action);
        message.setVisibility(View.VISIBLE);
        results.show(Collections.emptyList());
        status.setText("");
    }

    private void askForAccess() {
        requestPermissions(PhotoAccess.toRequest(Build.VERSION.SDK_INT), ACCESS);
    }

    private void indexNow() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU
                && checkSelfPermission(NOTIFICATIONS) != PackageManager.PERMISSION_GRANTED) {
            requestPermissions(new String[] {NOTIFICATIONS}, ACCESS + 1);
        }
        message.setVisibility(View.GONE);
        status.setText(R.string.preparing);
        IndexJob.scheduleNow(this);
    }

    private void openSettings() {
        Uri app = Uri.fromParts("package", getPackageName(), null);
        startActivity(new Intent(Settings.ACTION_APPLICATION_DETAILS_SETTINGS, app));
    }

    private void open(String path) {
        startActivity(new Intent(this, PhotoActivity.class).setData(Uri.parse(path)));
    }

    @Override
    public void cleared() {
        setTitle(R.string.app_name);
        results.show(Collections.emptyList());
        showState();
    }

    @Override
    public void searching(String query) {
        setTitle(R.string.app_name);
        status.setText(R.string.searching);
    }

    @Override
    public void found(String query, SearchEngine.Found found) {
        int count = found.results().size();
        message.setVisibility(View.GONE);
        results.show(found.results());
        if (count == 0) {
            status.setText(R.string.nothing_found);
            return;
        }
        String said = getResources().getQuantityString(R.plurals.found, count, count, found.ms().get("total"));
        status.setText(found.truncated() ? said + "\n" + getString(R.string.truncated) : said);
    }

    @Override
    public void failed(String query, IOException error) {
        String why = error instanceof McadException known ? known.what : String.valueOf(error.getMessage());
        say(R.string.app_name, getString(R.string.failed, why), R.string.try_again, view -> {
            message.setVisibility(View.GONE);
            box.submit();
            showState();
        });
    }

    private final class Typed implements TextWatcher {
        @Override
        public void beforeTextChanged(CharSequence text, int start, int count, int after) {}

        @Override
        public void onTextChanged(CharSequence text, int start, int before, int count) {}

        @Override
        public void afterTextChanged(Editable text) {
            box.type(text.toString());
        }
    }

    private record HandlerScheduler(Handler handler) implements SearchBox.Scheduler {
        @Override
        public void after(long ms, Runnable task) {
            handler.postDelayed(task, ms);
        }

        @Override
        public void cancel(Runnable task) {
            handler.removeCallbacks(task);
        }
    }
}
