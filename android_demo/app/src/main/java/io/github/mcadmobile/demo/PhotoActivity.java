package io.github.mcadmobile.demo;

import android.content.ActivityNotFoundException;
import android.content.ClipData;
import android.content.ClipboardManager;
import android.content.Intent;
import android.content.pm.ActivityInfo;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.view.Menu;
import android.view.MenuItem;
import android.view.View;
import android.widget.MediaController;
import android.widget.TextView;
import android.widget.Toast;
import android.widget.VideoView;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.gallery.Album;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.platform.BitmapDecoder;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.MediaSearch;
import io.github.mcadmobile.platform.VideoFrames;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

/** Shows a photo or a video's moment, and its neighbours: play it from there, share it, find similar photos, open it in the phone's gallery, trash it. */
public final class PhotoActivity extends DetailActivity {
    /** The path of its row in the index. */
    static final String PATH = "io.github.mcadmobile.demo.PATH";
    /** The paths of all results, in order; if absent, the photo is shown alone. */
    static final String PATHS = "io.github.mcadmobile.demo.PATHS";

    /** A bundle with why photos were found. */
    static final String WHY = "io.github.mcadmobile.demo.WHY";

    /** Why they were found if not by their words; empty if they were not searched for. */
    static final String QUERY = "io.github.mcadmobile.demo.QUERY";

    private static final String INFO = "io.github.mcadmobile.demo.INFO";
    private static final int SIDE = 1600;
    private static final int OPENED = 13;

    private static final float APART = 0.25f;

    private final ExecutorService loader = Executors.newSingleThreadExecutor();
    /** The neighbours of the current photo, loaded before the user steps to them. */
    private final Map<String, Loaded> neighbours = new ConcurrentHashMap<>();
    private MediaPhotos photos;
    private List<String> paths;
    private volatile String path;
    private boolean favourite;
    /** What was read in the photo. */
    private String text = "";
    private ZoomView view;
    private Sharpener sharpener;
    private VideoView video;
    private MediaController controls;
    /** Whether the photo is shown alone, without bars. */
    private boolean alone;

    /** A photo as read for display. */
    private record Loaded(String path, Bitmap bitmap, Optional<PhotoLibrary.Item> item, MediaPhotos.Details details,
            PhotoWords words, Map<Integer, String> info) {}

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.photo);
        photos = new MediaPhotos(this);
        path = saved == null ? getIntent().getStringExtra(PATH) : saved.getString(PATH);
        String[] found = saved == null ? getIntent().getStringArrayExtra(PATHS) : saved.getStringArray(PATHS);
        paths = new ArrayList<>(found == null ? Collections.singletonList(path) : Arrays.asList(found));
        if (saved != null) {
            setResult(RESULT_OK); // a photo may have been trashed before the screen turned
        }
        view = findViewById(R.id.photo);
        view.onStep(this::step);
        view.onTap(this::toggleBars);
        sharpener = new Sharpener(photos, view);
        video = findViewById(R.id.video);
        controls = new MediaController(this);
        video.setMediaController(controls);
        video.setOnCompletionListener(player -> stopVideo());
        findViewById(R.id.play).setOnClickListener(this::play);
        findViewById(R.id.share).setOnClickListener(
            button -> PhotoActions.share(this, Collections.singletonList(path)));
        findViewById(R.id.like).setOnClickListener(this::like);
        setVisible(R.id.info, saved != null && saved.getBoolean(INFO, false));
        load();
    }

    @Override
    protected void onSaveInstanceState(Bundle saved) {
        super.onSaveInstanceState(saved);
        saved.putString(PATH, path);
        saved.putStringArray(PATHS, paths.toArray(new String[0]));
        saved.putBoolean(INFO, isInfoShown());
    }

    @Override
    protected void onPause() {
        stopVideo();
        super.onPause();
    }

    @Override
    protected void onDestroy() {
        loader.shutdownNow();
        sharpener.close();
        super.onDestroy();
    }

    private void step(int by) {
        int next = paths.indexOf(path) + by;
        if (next >= 0 && next < paths.size()) {
            path = paths.get(next);
            stopVideo();
            load();
            slide(by);
        }
    }

    /** Android skips it when the user removed animations. */
    private void slide(int by) {
        boolean mirrored = view.getLayoutDirection() == View.LAYOUT_DIRECTION_RTL;
        view.setTranslationX((mirrored ? -by : by) * APART * view.getWidth());
        view.setAlpha(0f); // of a view: an int is of an image
        view.animate().translationX(0).alpha(1);
    }

    /** Bars and buttons make room for the photo, or come back. */
    @SuppressWarnings("deprecation") // its replacement came with Android 11
    private void toggleBars() {
        alone = !alone;
        view.setSystemUiVisibility(!alone ? 0 : View.SYSTEM_UI_FLAG_IMMERSIVE | View.SYSTEM_UI_FLAG_FULLSCREEN
            | View.SYSTEM_UI_FLAG_HIDE_NAVIGATION);
        setVisible(R.id.below, !alone);
        if (alone) {
            getActionBar().hide();
        } else {
            getActionBar().show();
        }
    }

    /** Load the current photo; skips photos that the user has passed meanwhile. */
    private void load() {
        String wanted = path;
        Loaded ready = neighbours.remove(wanted);
        if (ready != null) {
            show(ready);
            return;
        }
        loader.execute(() -> {
            if (wanted.equals(path)) {
                Loaded loaded = read(wanted);
                DemoApp.SCREEN.post(() -> show(loaded));
            }
        });
    }

    private Loaded read(String wanted) {
        Optional<PhotoLibrary.Item> item = photos.item(Moments.file(wanted));
        MediaPhotos.Details details = photos.details(wanted);
        PhotoWords words = words(wanted);
        return new Loaded(wanted, decode(wanted), item, details, words, info(item, details, words));
    }

    private void loadNeighbours() {
        String current = path;
        int at = paths.indexOf(current);
        List<String> near = new ArrayList<>(paths.subList(Math.max(0, at - 1), Math.min(paths.size(), at + 2)));
        near.remove(current);
        neighbours.keySet().retainAll(near);
        for (String next : near) {
            loader.execute(() -> {
                Loaded loaded = !current.equals(path) || neighbours.containsKey(next) ? null : read(next);
                DemoApp.SCREEN.post(() -> {
                    if (loaded != null && loaded.bitmap() != null && current.equals(path)) {
                        neighbours.put(next, loaded);
                    }
                });
            });
        }
    }

    private Map<Integer, String> info(Optional<PhotoLibrary.Item> item, MediaPhotos.Details details, PhotoWords words) {
        try {
            return item.isEmpty() ? Map.of() : PhotoInfo.of(this, photos, item.get(), details, words);
        } catch (IOException | RuntimeException error) {
            Messages.log(error);
            return Map.of();
        }
    }

    private PhotoWords words(String wanted) {
        try {
            return MediaSearch.of(this).words(wanted);
        } catch (IOException | RuntimeException error) {
            Messages.log(error);
            return PhotoWords.NONE;
        }
    }

    private Bitmap decode(String wanted) {
        long ms = Moments.ms(wanted);
        try (VideoFrames frames = ms == Moments.NONE ? null : photos.frames(wanted)) {
            return frames == null ? BitmapDecoder.show(photos.open(wanted), SIDE) : frames.show(ms, SIDE);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            Messages.log(error);
            return null;
        }
    }

    private void show(Loaded loaded) {
        if (!loaded.path().equals(path) || isDestroyed()) {
            return;
        }
        if (loaded.bitmap() == null) {
            boolean gone = loaded.item().isEmpty();
            Toast.makeText(this, gone ? R.string.photo_gone : R.string.photo_unreadable, Toast.LENGTH_LONG).show();
            if (gone) {
                remove();
                return;
            }
        }
        Why why = Why.of(getIntent().getBundleExtra(WHY), path);
        sharpener.leave();
        view.onZoom((part, pixels, shown) -> sharpener.sharpen(loaded.path(), part, pixels, shown));
        view.show(loaded.bitmap(), why.boxes());
        showBright(loaded.bitmap());
        loadNeighbours();
        TextView matched = findViewById(R.id.matched);
        matched.setText(why.text());
        setVisible(R.id.matched, !why.text().isEmpty());
        Map<Integer, String> info = new LinkedHashMap<>(loaded.info());
        info.put(R.string.why, why.text().isEmpty() ? getIntent().getStringExtra(QUERY) : why.text());
        info.values().removeIf(value -> value == null || value.isEmpty());
        showRows(info);
        text = loaded.words().lines().stream().map(line -> Why.clean(line.text())).collect(Collectors.joining("\n"));
        long ms = Moments.ms(path);
        TextView play = findViewById(R.id.play);
        play.setText(getString(R.string.play_from, Messages.clock(ms)));
        setVisible(R.id.play, ms != Moments.NONE);
        favourite = loaded.details().favourite();
        invalidateOptionsMenu();
        if (loaded.item().isPresent()) {
            String day = Messages.day(loaded.item().get().takenMs());
            setTitle(day);
            List<String> places = loaded.words().places(); // the city first
            getActionBar().setSubtitle(
                Album.name(loaded.item().get().folder()) + (places.isEmpty() ? "" : " · " + places.get(0)));
            String description = Messages.describe(this, path, day);
            view.setContentDescription(description);
            view.announceForAccessibility(description);
        }
    }

    /** With the range of brightness that the photo has, where the screen has it. */
    private void showBright(Bitmap bitmap) {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.UPSIDE_DOWN_CAKE && getResources().getConfiguration().isScreenHdr()) {
            boolean bright = bitmap != null && bitmap.hasGainmap();
            getWindow().setColorMode(bright ? ActivityInfo.COLOR_MODE_HDR : ActivityInfo.COLOR_MODE_DEFAULT);
        }
    }

    private void setVisible(int part, boolean visible) {
        findViewById(part).setVisibility(visible ? View.VISIBLE : View.GONE);
    }

    private boolean isInfoShown() {
        return findViewById(R.id.info).getVisibility() == View.VISIBLE;
    }

    /** The photo is gone: show its neighbour instead. */
    private void remove() {
        int at = paths.indexOf(path);
        paths.remove(path);
        setResult(RESULT_OK);
        if (paths.isEmpty()) {
            finish();
            return;
        }
        path = paths.get(Math.min(at, paths.size() - 1));
        load();
    }

    @Override
    public boolean onCreateOptionsMenu(Menu menu) {
        getMenuInflater().inflate(R.menu.photo, menu);
        return true;
    }

    @Override
    public boolean onPrepareOptionsMenu(Menu menu) {
        menu.findItem(R.id.favourite).setChecked(favourite).setVisible(PhotoActions.MAY_CHANGE);
        menu.findItem(R.id.delete).setVisible(PhotoActions.MAY_CHANGE);
        menu.findItem(R.id.copy).setVisible(!text.isEmpty());
        return true;
    }

    @Override
    public boolean onOptionsItemSelected(MenuItem item) {
        List<String> shown = Collections.singletonList(path);
        if (item.getItemId() == R.id.show_info) {
            setVisible(R.id.info, !isInfoShown());
        } else if (item.getItemId() == R.id.favourite) {
            PhotoActions.favourite(this, shown, !favourite);
        } else if (item.getItemId() == R.id.delete) {
            PhotoActions.trash(this, shown);
        } else if (item.getItemId() == R.id.copy) {
            getSystemService(ClipboardManager.class).setPrimaryClip(ClipData.newPlainText(getString(R.string.photo), text));
        } else if (item.getItemId() == R.id.open) {
            open();
        } else {
            return super.onOptionsItemSelected(item);
        }
        return true;
    }

    @Override
    protected void onActivityResult(int request, int result, Intent answer) {
        if (result == RESULT_OK && request == PhotoActions.TRASH) {
            remove();
        } else if (result == RESULT_OK && request == PhotoActions.FAVOURITE) {
            favourite = !favourite;
            invalidateOptionsMenu();
        } else if (request == OPENED) { // the gallery may have edited or deleted it
            setResult(RESULT_OK);
            neighbours.clear();
            load();
        }
    }

    /** Search on a new screen: back returns here, and from here to the earlier results. */
    private void like(View button) {
        startActivity(new Intent(this, SearchActivity.class).putExtra(SearchActivity.LIKE, path));
    }

    private void play(View button) {
        video.setVisibility(View.VISIBLE);
        video.setVideoURI(Uri.parse(MediaPath.uri(path)));
        video.seekTo((int) Moments.ms(path));
        video.start();
    }

    private void stopVideo() {
        controls.hide();
        video.stopPlayback();
        video.setVisibility(View.GONE);
    }

    private void open() {
        Intent open = new Intent(Intent.ACTION_VIEW)
            .setDataAndType(Uri.parse(MediaPath.uri(path)), PhotoActions.kind(Collections.singletonList(path)))
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        try {
            startActivityForResult(open, OPENED);
        } catch (ActivityNotFoundException error) {
            Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show();
        }
    }
}
