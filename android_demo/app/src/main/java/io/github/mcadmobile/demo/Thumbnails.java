package io.github.mcadmobile.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Build;
import android.util.LruCache;
import android.util.Size;
import android.widget.ImageView;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.Tiles;
import io.github.mcadmobile.platform.BitmapDecoder;
import io.github.mcadmobile.platform.MediaPhotos;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.function.Consumer;

/** Loads thumbnails off the main thread. All screens share a cache of an eighth of the app's memory. */
final class Thumbnails {
    /** A loaded thumbnail, and the day on which the photo was taken. */
    private record Loaded(Bitmap bitmap, String day) {}

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

    Thumbnails(Context context) {
        this.context = context;
        photos = new MediaPhotos(context);
        side = Tiles.side(context.getResources().getDisplayMetrics().widthPixels,
            context.getResources().getDimensionPixelSize(R.dimen.tile),
            context.getResources().getDimensionPixelSize(R.dimen.gap));
    }

    /**
     * Show a photo's thumbnail in a view, now or once loaded, unless the view shows another photo by then. {@code dated}
     * then receives the day on which it was taken; empty if unknown.
     */
    void show(ImageView view, String path, Consumer<String> dated) {
        view.setTag(path);
        Key key = new Key(path, side);
        Loaded ready = CACHE.get(key);
        view.setImageBitmap(ready == null ? null : ready.bitmap());
        if (ready != null) {
            dated.accept(ready.day());
            return;
        }
        loaders.execute(() -> {
            if (!path.equals(view.getTag())) {
                return;
            }
            Bitmap bitmap = load(path);
            if (bitmap == null) {
                return;
            }
            Loaded loaded = new Loaded(bitmap, photos.item(path).map(item -> Messages.day(item.takenMs())).orElse(""));
            CACHE.put(key, loaded);
            DemoApp.SCREEN.post(() -> {
                if (path.equals(view.getTag())) {
                    view.setImageBitmap(loaded.bitmap());
                    dated.accept(loaded.day());
                }
            });
        });
    }

    /** A photo may have been edited: load its thumbnail again when it is next shown. */
    static void forget(String path) {
        for (Key key : CACHE.snapshot().keySet()) {
            if (key.path().equals(path)) {
                CACHE.remove(key);
            }
        }
    }

    void close() {
        loaders.shutdownNow();
    }

    private Bitmap load(String path) {
        try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                Uri uri = Uri.parse(MediaPath.uri(path));
                return context.getContentResolver().loadThumbnail(uri, new Size(side, side), null);
            }
            return BitmapDecoder.show(photos.open(path), side);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            return null;
        }
    }
}
