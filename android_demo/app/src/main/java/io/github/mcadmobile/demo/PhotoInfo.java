package io.github.mcadmobile.demo;

import android.content.Context;
import android.media.ExifInterface;
import android.text.format.DateUtils;
import android.text.format.Formatter;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.gallery.PhotoLibrary;
import io.github.mcadmobile.platform.MediaPhotos;
import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** What is known of a photo or a video, for the viewer's panel. */
final class PhotoInfo {
    private static final int MOMENT = DateUtils.FORMAT_SHOW_WEEKDAY | DateUtils.FORMAT_SHOW_DATE
        | DateUtils.FORMAT_SHOW_YEAR | DateUtils.FORMAT_SHOW_TIME;

    private PhotoInfo() {}

    /** Values that are known, by the resources of their names, in the order to show. Off the main thread. */
    static Map<Integer, String> of(Context context, MediaPhotos photos, PhotoLibrary.Item item,
            MediaPhotos.Details details, PhotoWords words) throws IOException {
        Map<Integer, String> rows = new LinkedHashMap<>();
        rows.put(R.string.time, DateUtils.formatDateTime(context, item.takenMs(), MOMENT));
        rows.put(R.string.place, String.join(", ", words.places()));
        String bytes = Formatter.formatShortFileSize(context, item.bytes());
        rows.put(R.string.size, details.width() == 0 ? bytes
            : String.format(Locale.getDefault(), "%d × %d · %s", details.width(), details.height(), bytes));
        rows.put(R.string.camera, item.isVideo() ? "" : camera(photos, item.path()));
        rows.put(R.string.file, photos.names(List.of(item.path())).getOrDefault(item.path(), ""));
        rows.values().removeIf(String::isEmpty);
        return rows;
    }

    /** As the file's EXIF block names it; empty if it does not. */
    private static String camera(MediaPhotos photos, String path) throws IOException {
        try (InputStream in = photos.open(path).open()) {
            ExifInterface exif = new ExifInterface(in);
            String make = exif.getAttribute(ExifInterface.TAG_MAKE);
            String model = exif.getAttribute(ExifInterface.TAG_MODEL);
            return model == null ? "" : make == null || model.startsWith(make) ? model.trim() : make + " " + model.trim();
        }
    }
}
