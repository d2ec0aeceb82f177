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
import android.view.inputmethod.InputMethodManager;
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
    private EditText query;
    private GridView grid;
    /** The photo whose like are shown; null while words are searched for. */
    private String like;
    /** Whether the status tells of a search: the state of the index must not take its place. */
    private boolean answered;
    private final PhotoAccess.Refusals refusals = new PhotoAccess.Refusals();
    private boolean explained;
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
        grid = findViewById(R.id.grid);
        grid.setAdapter(results);
        grid.setOnItemClickListener((parent, view, position, id) -> open(results.path(position)));
        findViewById(R.id.choose_more).setOnClickListener(view -> askForAccess());
        box = new SearchBox(new HandlerScheduler(demo.screen), demo.worker, demo.screen::post, demo::search, this);
        query = findViewById(R.id.query);
        query.addTextChangedListener(new Typed());
        query.setOnEditorActionListener((view, action, event) -> {
            box.submit();
            getSystemService(InputMethodManager.class).hideSoftInputFromWindow(view.getWindowToken(), 0);
            return action == EditorInfo.IME_ACTION_SEARCH;
        });
        showLike(saved == null ? getIntent().getStringExtra(LIKE) : saved.getString(LIKE));
    }

    @Override
    protected void onSaveInstanceState(Bundle saved) {
        super.onSaveInstanceState(saved);
        saved.putString(LIKE, like);
    }

    @Override
    protected void onNewIntent(Intent intent) {
        super.onNewIntent(intent);
        showLike(intent.getStringExtra(LIKE));
    }

    /** Search for photos like one; for none if it is null. */
    private void showLike(String path) {
        if (path != null) {
            query.setText("");
            like = path;
            box.ask(path, demo::moreLike);
        }
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
            refused = none && permissions.length > 0
                && refusals.isLast(explained, shouldShowRequestPermissionRationale(permissions[0]));
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
        if (progress.running() && !answered) {
            status.setText(getString(R.string.indexing_progress, progress.done(), progress.total()));
        }
        demo.worker.execute(() -> {
            try {
                int photos = demo.index().photos();
                demo.engine();
                demo.screen.post(() -> showCount(photos, progress));
            } catch (IOException | RuntimeException error) {
                McadException.Kind kind = Failures.log(error);
                demo.screen.post(() -> showFailure(kind));
            }
        });
    }

    private void showCount(int photos, DemoEngine.Progress progress) {
        if (progress.running()) {
            message.setVisibility(View.GONE);
        } else if (photos > 0) {
            message.setVisibility(View.GONE);
            if (!answered) {
                String left = left(progress);
                String indexed = getString(R.string.indexed, photos);
                status.setText(left.isEmpty() ? indexed : indexed + "\n" + left);
            }
        } else if (progress.failure() != null) {
            say(R.string.app_name, left(progress), R.string.try_again, view -> indexNow());
        } else {
            String why = progress.skipped() > 0 ? left(progress)
                : getString(progress.finished() ? R.string.no_photos : R.string.not_indexed);
            say(R.string.start_title, why, R.string.index_now, view -> indexNow());
        }
    }

    /** What the last run did not do: why it failed, or how many photos it left out; empty if it did all. */
    private String left(DemoEngine.Progress progress) {
        if (progress.failure() != null) {
            return failure(progress.failure());
        }
        int skipped = progress.skipped();
        return skipped == 0 ? "" : getResources().getQuantityString(R.plurals.skipped, skipped, skipped);
    }

    private String failure(McadException.Kind kind) {
        return getString(R.string.failed, getString(Failures.text(kind)));
    }

    /** The state could not be told; what was found before stays. */
    private void showFailure(McadException.Kind kind) {
        if (answered) {
            status.setText(failure(kind));
        } else {
            say(R.string.app_name, failure(kind), R.string.try_again, view -> tryAgain());
        }
    }

    private void tryAgain() {
        message.setVisibility(View.GONE);
        if (like != null) {
            showLike(like);
        } else {
            box.submit();
        }
        showState();
    }

    private void say(int title, String text, int button, View.OnClickListener action) {
        ((TextView) findViewById(R.id.message_title)).setText(title);
        ((TextView) findViewById(R.id.message_text)).setText(text);
        Button press = findViewById(R.id.message_button);
        press.setText(button);
        press.setOnClickListener(action);
        message.setVisibility(View.VISIBLE);
        results.show(Collections.emptyList());
        answered = false;
        status.setText("");
    }

    private void askForAccess() {
        String[] permissions = PhotoAccess.toRequest(Build.VERSION.SDK_INT);
        explained = shouldShowRequestPermissionRationale(permissions[0]);
        requestPermissions(permissions, ACCESS);
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
        like = null;
        setTitle(R.string.app_name);
        results.show(Collections.emptyList());
        answered = false;
        showState();
    }

    @Override
    public void searching(String query) {
        setTitle(like == null ? R.string.app_name : R.string.like_title);
        answered = true;
        status.setText(R.string.searching);
    }

    @Override
    public void found(String query, SearchEngine.Found found) {
        int count = found.results().size();
        message.setVisibility(View.GONE);
        results.show(found.results());
        grid.setSelection(0);
        if (count == 0) {
            status.setText(R.string.nothing_found);
            return;
        }
        String said = getResources().getQuantityString(R.plurals.found, count, count, found.ms().get("total"));
        status.setText(found.truncated() ? said + "\n" + getString(R.string.truncated) : said);
    }

    @Override
    public void failed(String query, IOException error) {
        String why = failure(Failures.log(error));
        say(R.string.app_name, why, R.string.try_again, view -> tryAgain());
    }

    private final class Typed implements TextWatcher {
        @Override
        public void beforeTextChanged(CharSequence text, int start, int count, int after) {}

        @Override
        public void onTextChanged(CharSequence text, int start, int before, int count) {}

        @Override
        public void afterTextChanged(Editable text) {
            if (!text.toString().trim().isEmpty()) {
                like = null;
            }
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
