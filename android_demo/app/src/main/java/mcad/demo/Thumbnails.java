package mcad.demo;

import android.content.Context;
import android.graphics.Bitmap;
import android.graphics.BitmapFactory;
import android.graphics.Matrix;
import android.net.Uri;
import android.os.Build;
import android.os.Handler;
import android.os.Looper;
import android.util.LruCache;
import android.util.Size;
import android.widget.ImageView;
import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import mcad.engine.Exif;
import mcad.engine.PhotoDecoder;

/** Thumbnails, loaded off the screen's thread and kept in an eighth of the app's memory. */
final class Thumbnails {
    private static final int SIDE = 256;

    /** What a view shows when its thumbnail is there: the bitmap, and the photo's name. */
    private record Loaded(Bitmap bitmap, String name) {}

    /** Is told the name of the photo that a view shows. */
    interface Named {
        void named(ImageView view, String name);
    }

    private final Context context;
    private final Gallery gallery;
    private final ExecutorService loaders = Executors.newFixedThreadPool(2);
    private final Handler screen = new Handler(Looper.getMainLooper());
    private final LruCache<String, Loaded> cache;

    Thumbnails(Context context) {
        this.context = context;
        gallery = new Gallery(context);
        cache = new LruCache<String, Loaded>((int) (Runtime.getRuntime().maxMemory() / 8)) {
            @Override
            protected int sizeOf(String path, Loaded loaded) {
                return loaded.bitmap().getByteCount();
            }
        };
    }

    /** Show a photo's thumbnail in a view, now or when it is loaded; a view that shows another by then is left. */
    void show(ImageView view, String path, Named named) {
        view.setTag(path);
        Loaded ready = cache.get(path);
        view.setImageBitmap(ready == null ? null : ready.bitmap());
        if (ready != null) {
            named.named(view, ready.name());
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
            Loaded loaded = new Loaded(bitmap, gallery.name(path));
            cache.put(path, loaded);
            screen.post(() -> {
                if (path.equals(view.getTag())) {
                    view.setImageBitmap(loaded.bitmap());
                    named.named(view, loaded.name());
                }
            });
        });
    }

    void close() {
        loaders.shutdownNow();
    }

    private Bitmap load(String path) {
        try {
            if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) {
                return context.getContentResolver().loadThumbnail(Uri.parse(path), new Size(SIDE, SIDE), null);
            }
            return decode(path, SIDE);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            return null;
        }
    }

    /** A photo, its longer side {@code side} to twice that; null if it cannot be decoded. */
    Bitmap decode(String path, int side) throws IOException {
        PhotoDecoder.Source source = gallery.open(path);
        BitmapFactory.Options options = new BitmapFactory.Options();
        options.inJustDecodeBounds = true;
        try (InputStream in = source.open()) {
            BitmapFactory.decodeStream(in, null, options);
        }
        options.inJustDecodeBounds = false;
        options.inSampleSize = PhotoDecoder.displayReduction(options.outWidth, options.outHeight, side);
        int orientation;
        try (InputStream in = source.open()) {
            orientation = Exif.orientation(in);
        }
        try (InputStream in = source.open()) {
            Bitmap bitmap = BitmapFactory.decodeStream(in, null, options);
            return bitmap == null ? null : upright(bitmap, orientation);
        }
    }

    private static Bitmap upright(Bitmap bitmap, int orientation) {
        Matrix turn = new Matrix();
        if (Exif.mirrored(orientation)) {
            turn.postScale(-1, 1);
        }
        turn.postRotate(Exif.degrees(orientation));
        return Bitmap.createBitmap(bitmap, 0, 0, bitmap.getWidth(), bitmap.getHeight(), turn, true);
    }
}
