package io.github.mcadmobile.demo;

import android.app.Activity;
import android.app.ActivityOptions;
import android.content.ActivityNotFoundException;
import android.content.Context;
import android.content.Intent;
import android.net.Uri;
import android.os.Bundle;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.view.inputmethod.EditorInfo;
import android.view.inputmethod.InputMethodManager;
import android.widget.CheckBox;
import android.widget.EditText;
import android.widget.GridView;
import android.widget.TextView;
import android.widget.Toast;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.gallery.Filter;
import io.github.mcadmobile.gallery.Folders;
import io.github.mcadmobile.gallery.Home;
import io.github.mcadmobile.gallery.NamedPeriod;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.SearchBox;
import io.github.mcadmobile.gallery.Waiting;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.MediaSearch;
import java.io.IOException;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;

/** The search box and its results. Photos like a given one open on a new screen, from which back returns here. */
public final class SearchActivity extends Activity
        implements SearchBox.Listener, FolderDialog.Screen, DayDialog.Screen, PlaceDialog.Screen {
    /** The path of the indexed photo to find similar photos for. */
    static final String LIKE = "io.github.mcadmobile.demo.LIKE";

    private static final int PICKED = 1;
    private static final int VIEWED = 2;

    /** What the screen shows below the query. */
    private enum Page {
        /** The latest photos, until a search begins. */
        START,
        /** A search or its answer, which the index's state must not replace. */
        SEARCH,
        /** Why a search failed, until the next one begins. */
        FAILED,
        /** Why nothing can be searched yet. Once photos can be, a query from before is searched for. */
        PANEL
    }

    private PhotoSearch search;
    private MediaPhotos photos;
    private Access access;
    private Thumbnails thumbnails;
    private ResultGrid results;
    private SearchBox box;
    private Watcher watcher;
    private Choices choices;
    private Filters filters;
    private StartPage start;
    private TextView status;
    private TextView progress;
    private EditText query;
    /**
     * The photo, indexed or shared by another app, whose similar photos are shown; null for a search by words alone.
     */
    private String like;
    /** Searches for photos like it that also fit the words, if any. */
    private SearchBox.Searcher likeBy;
    /** Reads a photo shared by another app, which may fetch it slowly: the worker must not wait. Otherwise null. */
    private ExecutorService reader;
    private Page page = Page.START;
    /** Whether this screen has begun the first run. */
    private boolean began;
    /** How many photos could be searched, and whether a run was on, when the photos were last shown anew. */
    private int searchable;
    private boolean ran;
    private Home.Panel panel = Home.Panel.NONE;
    /** Whether photos have words, and can be searched by them and by their places. */
    private volatile boolean hasWords;
    /** Prevents updates after each photo from queueing up. */
    private final AtomicBoolean asksForState = new AtomicBoolean();

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.search);
        search = MediaSearch.of(this);
        photos = new MediaPhotos(this);
        access = new Access(this, photos);
        thumbnails = new Thumbnails(this);
        GridView grid = findViewById(R.id.grid);
        results = new ResultGrid(this, grid, thumbnails, saved);
        choices = new Choices(this, search, new Chosen());
        filters = new Filters(this, search, saved, this::filterChanged);
        start = new StartPage(this, search, results, this::searchFor);
        watcher = new Watcher(this, search, this::showState);
        status = findViewById(R.id.status);
        progress = findViewById(R.id.progress);
        new Selection(this, grid, results::path).begin();
        grid.setOnItemClickListener((parent, view, position, id) -> open(view, position));
        findViewById(R.id.choose_more).setOnClickListener(view -> access.ask());
        findViewById(R.id.message_folders).setOnClickListener(view -> choices.askForFolders());
        CheckBox charging = findViewById(R.id.message_charging);
        charging.setOnClickListener(view -> choices.chooseCharging(charging.isChecked()));
        findViewById(R.id.pause).setOnClickListener(view -> end(MediaSearch::pause));
        findViewById(R.id.stop).setOnClickListener(view -> end(MediaSearch::stop));
        findViewById(R.id.go_on).setOnClickListener(view -> indexNow());
        Uri shared = OtherPhoto.shared(getIntent());
        if (shared != null) {
            reader = Executors.newSingleThreadExecutor();
        }
        box = new SearchBox(
            new ScreenScheduler(DemoApp.SCREEN), reader == null ? DemoApp.WORKER : reader, DemoApp.SCREEN::post,
            words -> likeBy != null ? likeBy.search(words) : find(words),
            this);
        query = findViewById(R.id.query);
        query.setHorizontallyScrolling(false); // with a large font, the hint needs more lines than one
        query.setMaxLines(4);
        query.addTextChangedListener(new AfterTyping(this::typed));
        query.setOnEditorActionListener((view, action, event) -> {
            box.submit();
            start.remember(view.getText().toString());
            getSystemService(InputMethodManager.class).hideSoftInputFromWindow(view.getWindowToken(), 0);
            return action == EditorInfo.IME_ACTION_SEARCH;
        });
        findViewById(R.id.clear).setOnClickListener(view -> query.setText(""));
        String path = getIntent().getStringExtra(LIKE);
        if (shared != null) {
            showLike(shared.toString(), words -> words.isEmpty()
                ? search.moreLike(photos.source(shared), DemoApp.RESULTS, filters.filter())
                : search.moreLike(photos.source(shared), words, DemoApp.RESULTS, filters.filter()));
        } else if (path != null) {
            showLike(path, words -> words.isEmpty() ? search.moreLike(path, DemoApp.RESULTS, filters.filter())
                : search.moreLike(path, words, DemoApp.RESULTS, filters.filter()));
        }
    }

    @Override
    protected void onSaveInstanceState(Bundle saved) {
        super.onSaveInstanceState(saved);
        results.save(saved);
        filters.save(saved);
    }

    private void showLike(String photo, SearchBox.Searcher by) {
        like = photo;
        likeBy = by;
        box.ask(photo, any -> by.search(""));
    }

    @Override
    protected void onResume() {
        super.onResume();
        watcher.start();
        start.refresh();
        showState();
    }

    @Override
    protected void onPause() {
        watcher.stop();
        super.onPause();
    }

    @Override
    protected void onDestroy() {
        box.forget();
        if (reader != null) {
            reader.shutdownNow();
        }
        thumbnails.close();
        super.onDestroy();
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.search, menu);
        return true;
    }

    @Override
    public boolean onPrepareOptionsMenu(Menu menu) {
        choices.show(menu);
        menu.findItem(R.id.index_now).setVisible(panel != Home.Panel.NO_PHOTOS);
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        if (item.getItemId() == R.id.index_now) {
            act(Home.indexNow(access.state(), access.isRefused()));
            return true;
        }
        if (item.getItemId() == R.id.forget) {
            start.forget();
            return true;
        }
        if (item.getItemId() == R.id.show_numbers) {
            startActivity(new Intent(this, NumbersActivity.class));
            return true;
        }
        if (item.getItemId() == R.id.about) {
            startActivity(new Intent(this, AboutActivity.class));
            return true;
        }
        if (item.getItemId() == R.id.pick) {
            pick();
            return true;
        }
        return choices.choose(item) || super.onOptionsItemSelected(item);
    }

    private void pick() {
        try {
            startActivityForResult(OtherPhoto.pick(), PICKED);
        } catch (ActivityNotFoundException error) {
            Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show();
        }
    }

    @Override
    protected void onActivityResult(int request, int result, Intent answer) {
        Uri photo = OtherPhoto.picked(result, answer);
        if (request == PICKED && photo != null) {
            startActivity(OtherPhoto.search(this, photo));
        } else if (result == RESULT_OK && (request == VIEWED || request == PhotoActions.TRASH)) {
            results.stay(); // photos were deleted
            ask();
            start.refresh();
            showState();
        }
    }

    @Override
    public void indexFolders(Folders folders) {
        choices.choose(folders);
    }

    @Override
    public void searchFolders(Set<String> folders) {
        filters.choose(folders);
    }

    @Override
    public void searchDays(LocalDate first, LocalDate last) {
        filters.choose(first, last);
    }

    @Override
    public boolean hasPlaces() {
        return access.hasPlaces();
    }

    @Override
    public void turnPlacesOn() {
        access.askForPlaces();
    }

    @Override
    public void searchPlace(String place) {
        filters.choose(place);
    }

    /** A year or a month in the words is a filter. */
    private SearchEngine.Found find(String words) throws IOException {
        NamedPeriod named = filters.named(words);
        if (named == null) {
            return search.search(words, DemoApp.RESULTS, filters.filter(), filters.by());
        }
        Filter filter = filters.filter().taken(named.first(), named.last(), ZoneId.systemDefault());
        return named.words().isEmpty() ? StartPage.found(search.searchable(DemoApp.RESULTS, filter))
            : search.search(named.words(), DemoApp.RESULTS, filter, filters.by());
    }

    private void filterChanged() {
        filters.show(words());
        start.hide();
        ask();
        showState();
    }

    private void searchFor(String words) {
        query.setText(words);
        query.setSelection(words.length());
        box.submit();
        start.remember(words);
    }

    /** The typed words, in which a period may be named. */
    private String words() {
        return like != null ? "" : query.getText().toString().trim();
    }

    @Override
    public void onRequestPermissionsResult(int request, String[] permissions, int[] answers) {
        if (access.isAnswered(request, permissions)) {
            DemoApp.WORKER.execute(this::count);
        } else if (request == Access.PLACES && access.hasPlaces()) {
            indexNow(); // reads the places of photos that are indexed
        }
    }

    /** Count the photos to index, before the user starts. */
    private void count() {
        try {
            if (access.state() != PhotoAccess.State.NONE) {
                search.count();
            }
        } catch (IOException | RuntimeException error) {
            Messages.log(error);
        }
        DemoApp.SCREEN.post(this::showState);
    }

    /** Show access, index and progress. */
    private void showState() {
        setVisible(R.id.search_bar, access.state() != PhotoAccess.State.NONE);
        if (!asksForState.compareAndSet(false, true)) {
            return;
        }
        DemoApp.WORKER.execute(() -> {
            asksForState.set(false);
            try {
                PhotoAccess.State state = access.state();
                int indexed = state == PhotoAccess.State.NONE ? 0 : search.photos();
                boolean english = search.bundle().isEnglish();
                hasWords = indexed > 0 && search.hasWords();
                Waiting waiting = MediaSearch.waiting(this);
                Home home = Home.of(state, access.isRefused(), search.indexing(), indexed);
                DemoApp.SCREEN.post(() -> show(home, state, waiting, indexed, english));
                search.warmUp();
            } catch (IOException | RuntimeException error) {
                Messages.log(error);
                DemoApp.SCREEN.post(() -> showFailure(Page.PANEL, McadException.kind(error)));
            }
        });
    }

    private void show(Home home, PhotoAccess.State state, Waiting waiting, int indexed, boolean english) {
        panel = home.panel();
        setVisible(R.id.place, hasWords);
        setVisible(R.id.by, hasWords && like == null);
        setVisible(R.id.partial, state == PhotoAccess.State.SOME);
        boolean runs = home.panel() == Home.Panel.NONE && search.isIndexing();
        boolean ended = home.panel() == Home.Panel.NONE && (waiting == Waiting.PAUSED || waiting == Waiting.STOPPED);
        setVisible(R.id.pause, runs);
        setVisible(R.id.stop, runs);
        setVisible(R.id.go_on, !runs && ended);
        query.setHint(like != null ? R.string.like_hint
            : english ? R.string.search_hint_english : R.string.search_hint);
        boolean first = home.panel() == Home.Panel.NOT_INDEXED;
        setVisible(R.id.message_folders, first);
        setVisible(R.id.message_charging, first);
        ((CheckBox) findViewById(R.id.message_charging)).setChecked(choices.isOnlyCharging());
        if (first && waiting == Waiting.NO) {
            if (!began) {
                began = true;
                indexNow();
            }
            return;
        }
        if (home.panel() != Home.Panel.NONE) {
            int title = home.panel() == Home.Panel.FAILED ? R.string.app_name : R.string.start_title;
            say(Page.PANEL, title, Messages.panel(this, home.panel(), search.indexing(), waiting),
                Messages.button(home.action()), view -> act(home.action()));
            return;
        }
        if (indexed != searchable || runs != ran) {
            searchable = indexed;
            ran = runs;
            start.refresh();
            if (page == Page.SEARCH && results.getCount() == 0) {
                ask(); // it found nothing among fewer photos
            }
        }
        if (page == Page.START || page == Page.PANEL) {
            showPhotos(indexed);
        }
        // Not a live region: a screen reader would announce every photo.
        progress.setText(page == Page.START || search.isIndexing()
            ? Messages.line(this, home.line(), search.indexing(), waiting, indexed) : "");
    }

    private void showPhotos(int indexed) {
        findViewById(R.id.message).setVisibility(View.GONE);
        if (like == null && query.getText().toString().trim().isEmpty()) {
            page = Page.START;
            start.show(filters.filter());
        } else if (page == Page.PANEL && indexed > 0) {
            ask();
        }
    }

    private void setVisible(int view, boolean visible) {
        findViewById(view).setVisibility(visible ? View.VISIBLE : View.GONE);
    }

    /** Stop a run at once, and save the choice in the background. */
    private void end(Consumer<Context> how) {
        search.stopIndexing();
        DemoApp.WORKER.execute(() -> how.accept(this));
        showState();
    }

    private void act(Home.Action action) {
        switch (action) {
            case ASK_FOR_ACCESS -> access.ask();
            case SETTINGS -> access.openSettings();
            case INDEX, TRY_AGAIN -> indexNow();
            case NONE -> { }
        }
    }

    /** Show an error as the next page; results of a search stay. */
    private void showFailure(Page next, McadException.Kind kind) {
        if (kind == McadException.Kind.DAMAGED) {
            indexNow(); // rebuilds the index
        }
        if (page == Page.SEARCH) {
            status.setText(Messages.failure(this, kind));
        } else {
            say(next, R.string.app_name, Messages.failure(this, kind), R.string.try_again, view -> tryAgain());
        }
    }

    private void tryAgain() {
        findViewById(R.id.message).setVisibility(View.GONE);
        ask();
        showState();
    }

    private void ask() {
        if (like != null && query.getText().toString().trim().isEmpty()) {
            showLike(like, likeBy);
        } else {
            box.submit();
        }
    }

    private void say(Page next, int title, String text, int button, View.OnClickListener action) {
        ((TextView) findViewById(R.id.message_title)).setText(title);
        ((TextView) findViewById(R.id.message_text)).setText(text);
        TextView press = findViewById(R.id.message_button);
        press.setText(button);
        press.setOnClickListener(action);
        setVisible(R.id.message_button, panel != Home.Panel.NO_PHOTOS);
        findViewById(R.id.message).setVisibility(View.VISIBLE);
        start.hide();
        results.clear();
        page = next;
        status.setText("");
        progress.setText("");
    }

    private void indexNow() {
        access.askForNotifications();
        findViewById(R.id.message).setVisibility(View.GONE);
        progress.setText(R.string.looking);
        MediaSearch.indexNow(this);
    }

    /** The photo grows out of its tile. */
    private void open(View tile, int position) {
        start.remember(query.getText().toString());
        startActivityForResult(new Intent(this, PhotoActivity.class).putExtra(PhotoActivity.PATH, results.path(position))
            .putExtra(PhotoActivity.PATHS, results.paths(position)).putExtra(PhotoActivity.WHY, results.why())
            .putExtra(PhotoActivity.QUERY, why()), VIEWED,
            ActivityOptions.makeScaleUpAnimation(tile, 0, 0, tile.getWidth(), tile.getHeight()).toBundle());
    }

    /** Why photos are shown that have none of the query's words. */
    private String why() {
        if (page != Page.SEARCH || like != null) {
            return page == Page.SEARCH ? getString(R.string.like_title) : "";
        }
        NamedPeriod named = filters.named(words());
        String words = named == null ? words() : named.words();
        return words.isEmpty() ? "" : getString(R.string.near, words);
    }

    @Override
    public void cleared() {
        if (like != null) {
            showLike(like, likeBy);
            return;
        }
        setTitle(R.string.app_name);
        filters.show("");
        start.hide();
        results.clear();
        page = Page.START;
        status.setText("");
        showState();
    }

    @Override
    public void searching(String words) {
        setTitle(like == null ? R.string.app_name : R.string.like_title);
        page = Page.SEARCH;
        start.hide();
        status.setText(R.string.searching);
    }

    @Override
    public void found(String words, SearchEngine.Found found) {
        findViewById(R.id.message).setVisibility(View.GONE);
        results.show(found);
        int photos = found.results().size();
        filters.show(words());
        NamedPeriod named = like != null ? null : filters.named(words);
        boolean isCount = filters.by() == SearchEngine.Channel.WORDS || named != null && named.words().isEmpty();
        String text = photos == 0 ? getString(R.string.nothing_found) : !isCount ? getString(R.string.nearest)
            : getResources().getQuantityString(R.plurals.found, photos, photos);
        if (found.truncated()) {
            text += "\n" + getString(R.string.truncated);
        }
        if (!found.unknown().isEmpty()) {
            text += "\n" + getString(R.string.unknown_words, String.join(", ", found.unknown()));
        }
        status.setText(text);
        showState();
    }

    @Override
    public void failed(String words, IOException error) {
        page = Page.FAILED;
        Messages.log(error);
        showFailure(page, McadException.kind(error));
    }

    private final class Chosen implements Choices.Listener {
        @Override
        public void changed() {
            ask();
        }

        @Override
        public void foldersChanged() throws IOException {
            if (search.photos() == 0) {
                count(); // the user starts the first run
                return;
            }
            DemoApp.SCREEN.post(() -> {
                ask();
                act(Home.indexNow(access.state(), access.isRefused()));
            });
        }
    }

    private void typed(String text) {
        setVisible(R.id.clear, !text.isEmpty());
        box.type(text);
    }
}
