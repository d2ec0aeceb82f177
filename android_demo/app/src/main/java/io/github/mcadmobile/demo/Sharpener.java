package io.github.mcadmobile.demo;

import android.graphics.Bitmap;
import android.graphics.RectF;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.platform.MediaPhotos;
import io.github.mcadmobile.platform.PhotoRegions;
import java.io.IOException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** Decodes the part of a photo that a zoomed viewer shows, in all its pixels. At most one photo is open. */
final class Sharpener {
    private final ExecutorService worker = Executors.newSingleThreadExecutor();
    private final MediaPhotos photos;
    private final ZoomView view;
    /** The latest part that is wanted; of others, none is decoded. */
    private volatile RectF wanted;
    private String path = "";
    private PhotoRegions regions;

    Sharpener(MediaPhotos photos, ZoomView view) {
        this.photos = photos;
        this.view = view;
    }

    /** Show a part of a photo on {@code pixels} of the screen's width; {@code shown} is the width of its bitmap. */
    void sharpen(String photo, RectF part, int pixels, int shown) {
        wanted = part;
        if (worker.isShutdown()) {
            return; // the screen was left meanwhile
        }
        worker.execute(() -> {
            if (part != wanted) {
                return;
            }
            open(photo);
            if (regions == null || regions.width() <= shown) {
                return;
            }
            try {
                Bitmap sharp = regions.decode(part, pixels);
                DemoApp.SCREEN.post(() -> {
                    if (part == wanted) {
                        view.showPart(sharp, part);
                    }
                });
            } catch (IOException | RuntimeException | OutOfMemoryError error) {
                Messages.log(error); // the bitmap stays
            }
        });
    }

    private void open(String photo) {
        if (photo.equals(path)) {
            return;
        }
        release();
        path = photo;
        try {
            regions = Moments.ms(photo) == Moments.NONE ? PhotoRegions.open(photos.open(photo)) : null;
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            Messages.log(error);
        }
    }

    private void release() {
        path = "";
        if (regions != null) {
            regions.close();
            regions = null;
        }
    }

    /** Another photo is shown. */
    void leave() {
        wanted = null;
        worker.execute(this::release);
    }

    void close() {
        leave();
        worker.shutdown();
    }
}
