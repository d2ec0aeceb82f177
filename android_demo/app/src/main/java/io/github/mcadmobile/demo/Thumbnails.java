package io.github.mcadmobile.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Build;
import android.util.LruCache;
import android.util.Size;
import android.widget.ImageView;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.gallery.Tiles;
import io.github.mcadmobile.platform.BitmapDecoder;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.VideoFrames;
import java.io.IOException;
import java.util.Optional;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;

/** Loads thumbnails off the main thread. All screens share a cache of an eighth of the app's memory. */
final class Thumbnails {
    /** A loaded thumbnail, when its photo was last changed and the day it was taken, if known, and a video's length. */
    record Loaded(Bitmap bitmap, long modifiedMs, String day, String length) {}

    private record Key(String path, int side) {}

    private static final int MOST_BYTES = (int) (Runtime.getRuntime().maxMemory() / 8);
    private static final LruCache<Key, Loaded> CACHE = new LruCache<Key, Loaded>(MOST_BYTES) {
        @Override
        protected int sizeOf(Key key, Loaded loaded) {
            return loaded.bitmap().getByteCount();
        }
    };

    private final Context context;
    private final MediaPhotos photos;
    private final int side;
    private final ExecutorService loaders = Executors.newFixedThreadPool(2);
    /** Photos do not wait for videos, whose decoder may take its time. */
    private final ExecutorService videos = Executors.newSingleThreadExecutor();

    Thumbnails(Context context) {
        this.context = context;
        photos = new MediaPhotos(context);
        side = Tiles.side(context.getResources().getDisplayMetrics().widthPixels,
            context.getResources().getDimensionPixelSize(R.dimen.tile),
            context.getResources().getDimensionPixelSize(R.dimen.gap));
    }

    /**
     * Show the thumbnail of a photo or a video's moment in a view, now or once loaded, unless the view shows another by
     * then. {@code shown} then receives it. That of a photo that was edited since is loaded again.
     */
    void show(ImageView view, String path, Consumer<Loaded> shown) {
        view.setTag(path);
        Key key = new Key(path, side);
        Loaded ready = CACHE.get(key);
        view.setImageBitmap(ready == null ? null : ready.bitmap());
        if (ready != null) {
            shown.accept(ready);
        }
        (Moments.ms(path) == Moments.NONE ? loaders : videos).execute(() -> {
            if (!path.equals(view.getTag())) {
                return;
            }
            Optional<PhotoLibrary.Item> item = photos.item(Moments.file(path));
            long modifiedMs = item.map(PhotoLibrary.Item::modifiedMs).orElse(0L);
            Loaded known = CACHE.get(key);
            boolean fresh = known != null && (item.isEmpty() || modifiedMs == known.modifiedMs());
            Loaded loaded = fresh ? known
                : load(path, modifiedMs, item.map(photo -> Messages.day(photo.takenMs())).orElse(""));
            if (loaded == null || loaded == ready) {
                return;
            }
            CACHE.put(key, loaded);
            DemoApp.SCREEN.post(() -> {
                if (path.equals(view.getTag())) {
                    view.setImageBitmap(loaded.bitmap());
                    shown.accept(loaded);
                }
            });
        });
    }

    void close() {
        loaders.shutdownNow();
        videos.shutdownNow();
    }

    private Loaded load(String path, long modifiedMs, String day) {
        try {
            if (Moments.ms(path) != Moments.NONE) {
                try (VideoFrames video = photos.frames(path)) {
                    Bitmap frame = video.show(Moments.ms(path), 2 * side); // the tile shows its middle
                    return new Loaded(frame, modifiedMs, day, Messages.clock(video.durationMs()));
                }
            }
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                Uri uri = Uri.parse(MediaPath.uri(path));
                Bitmap small = context.getContentResolver().loadThumbnail(uri, new Size(side, side), null);
                return new Loaded(small, modifiedMs, day, "");
            }
            return new Loaded(BitmapDecoder.show(photos.open(path), side), modifiedMs, day, "");
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            return null;
        }
    }
}
