package io.github.mcadmobile.robolectric;

import static android.app.PendingIntent.FLAG_IMMUTABLE;

import android.app.PendingIntent;
import android.content.ClipData;
import android.content.ContentProvider;
import android.content.ContentUris;
import android.content.ContentValues;
import android.content.Intent;
import android.database.Cursor;
import android.database.CursorWrapper;
import android.database.MatrixCursor;
import android.graphics.BitmapFactory;
import android.net.Uri;
import android.os.Bundle;
import android.os.ParcelFileDescriptor;
import android.provider.MediaStore;
import java.io.File;
import java.io.FileNotFoundException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Supplier;

/** Answers for Android's MediaStore from files: rows by volume, versions and generations, and the photos themselves. */
public final class FakeMediaStore extends ContentProvider {
    private static final String AFTER = "_id > ";
    /** How many rows a cursor reads at once. */
    public static final int WINDOW = 2000;

    private final Map<Long, Row> rows = new TreeMap<>();
    private final Set<Long> hidden = new HashSet<>();
    private final Set<Long> favourites = new HashSet<>();
    private final Set<String> opened = ConcurrentHashMap.newKeySet();
    private final Map<String, String> versions = new LinkedHashMap<>();
    private final Map<String, RuntimeException> failures = new HashMap<>();
    private RuntimeException failure;
    private boolean dead;
    private long nextId = 1;
    private long generation = 1;
    private Runnable afterList = () -> { };
    private Runnable afterWindow = () -> { };
    private int queries;
    private String asked = "";

    /** A photo or video: its file, which has its size and the second in which it was changed. */
    public record Row(long id, String volume, File file, String name, String kind, String folder, Long takenMs) {
        String collection() {
            return kind.startsWith("video/") ? "video" : "images";
        }
    }

    /** A volume that is mounted. A photo of one that is not cannot be asked for. */
    public synchronized void mount(String volume) {
        versions.putIfAbsent(volume, "1:" + volume);
        changed();
    }

    public synchronized void unmount(String volume) {
        versions.remove(volume);
        changed();
    }

    /** Add a photo, as a camera or a download does. The folder is its RELATIVE_PATH, or null. */
    public synchronized Uri add(File file, String volume, String folder, String kind, Long takenMs) {
        Row row = new Row(nextId++, volume, file, file.getName(), kind, folder, takenMs);
        rows.put(row.id(), row);
        changed();
        return ContentUris.withAppendedId(Uri.parse("content://media/" + volume + "/" + row.collection() + "/media"), row.id());
    }

    public synchronized void remove(Uri photo) {
        rows.remove(ContentUris.parseId(photo));
        changed();
    }

    /** The user likes this photo. */
    public synchronized void mark(Uri photo) {
        favourites.add(ContentUris.parseId(photo));
    }

    /** The user shows this photo to the app, or not. */
    public synchronized void hide(Uri photo, boolean hides) {
        long id = ContentUris.parseId(photo);
        boolean changes = hides ? hidden.add(id) : hidden.remove(id);
        if (changes) {
            changed();
        }
    }

    /** Every photo gets another number, and the volume another version, as after the store's data were cleared. */
    public synchronized void renumber(String volume) {
        for (Row row : new ArrayList<>(rows.values())) {
            if (row.volume().equals(volume)) {
                rows.remove(row.id());
                long id = 1000 + nextId++;
                rows.put(id, new Row(id, volume, row.file(), row.name(), row.kind(), row.folder(), row.takenMs()));
            }
        }
        versions.put(volume, "2:" + volume);
        changed();
    }

    /** Every later question ends in this; null: none. */
    public synchronized void fail(RuntimeException with) {
        failure = with;
    }

    /** The same of questions about one volume. */
    public synchronized void fail(String volume, RuntimeException with) {
        failures.put(volume, with);
        changed();
    }

    /** Answer no later question, as a provider whose process has died. */
    public synchronized void die() {
        dead = true;
    }

    /** What the user was asked for last, of how many photos, and what they become: "create_trash_request 1 ...". */
    public synchronized String asked() {
        return asked;
    }

    /** Do something once, after the next list of photos was read and before it is returned. */
    public synchronized void afterNextList(Runnable task) {
        afterList = task;
    }

    /** Do something once, after the first window of a list was read. */
    public synchronized void afterNextWindow(Runnable task) {
        afterWindow = task;
    }

    /** How many lists of photos were asked for so far. */
    public synchronized int queries() {
        return queries;
    }

    /** The names of the files that were opened so far. */
    public Set<String> opened() {
        return opened;
    }

    public synchronized List<Row> rows() {
        return new ArrayList<>(rows.values());
    }

    private void changed() {
        generation++;
        if (getContext() != null) {
            getContext().getContentResolver().notifyChange(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, null);
            getContext().getContentResolver().notifyChange(MediaStore.Video.Media.EXTERNAL_CONTENT_URI, null);
        }
    }

    @Override
    public boolean onCreate() {
        return true;
    }

    @Override
    public synchronized Bundle call(String method, String argument, Bundle extras) {
        check();
        Bundle answer = new Bundle();
        if (method.equals("get_version")) {
            String volume = extras.getString(Intent.EXTRA_TEXT);
            answer.putString(Intent.EXTRA_TEXT, version(volume));
        } else if (method.equals("get_generation")) {
            answer.putLong(Intent.EXTRA_INDEX, generation);
        } else if (method.endsWith("_request")) {
            asked = method + " " + ((ClipData) extras.getParcelable("clip_data")).getItemCount()
                + " " + extras.getParcelable("content_values"); // as name=value
            answer.putParcelable("result", PendingIntent.getActivity(getContext(), 0, new Intent(method), FLAG_IMMUTABLE));
        }
        return answer;
    }

    private String version(String volume) {
        return volume == null || volume.equals("external_primary") ? versions.values().iterator().next()
            : versions.get(volume);
    }

    @Override
    public synchronized Cursor query(Uri uri, String[] columns, String where, String[] values, String order) {
        check();
        if (dead) {
            return null;
        }
        List<String> parts = uri.getPathSegments();
        if (parts.contains("version")) {
            MatrixCursor cursor = new MatrixCursor(new String[] {"version"});
            cursor.addRow(new Object[] {versions.values().iterator().next()});
            return cursor;
        }
        String volume = parts.get(0);
        if (failures.get(volume) != null) {
            throw failures.get(volume);
        }
        if (!volume.equals("external") && !versions.containsKey(volume)) {
            throw new IllegalArgumentException("Volume " + volume + " not found");
        }
        Long id = parts.size() > 3 ? ContentUris.parseId(uri) : null;
        Set<Long> asked = ids(where);
        queries += id == null ? 1 : 0;
        long after = where != null && where.startsWith(AFTER) ? Long.parseLong(where.substring(AFTER.length())) : -1;
        Supplier<MatrixCursor> read = () -> {
            MatrixCursor cursor = new MatrixCursor(columns);
            for (Row row : ordered(order)) {
                boolean here = versions.containsKey(row.volume()) && !hidden.contains(row.id())
                    && (volume.equals("external") || volume.equals(row.volume())) && parts.get(1).equals(row.collection());
                if (here && row.id() > after && (id == null || id == row.id())
                        && (asked == null || asked.contains(row.id()))) {
                    cursor.addRow(Arrays.stream(columns).map(column -> value(row, column)).toArray());
                }
            }
            return cursor;
        };
        MatrixCursor first = read.get();
        if (id != null || asked != null) {
            return first;
        }
        Runnable task = afterList;
        afterList = () -> { };
        task.run();
        return new Windows(first, read);
    }

    /** As SQLite's cursor, which asks again for each window of its rows, from the number of rows that it has read on. */
    private final class Windows extends CursorWrapper {
        private final Supplier<MatrixCursor> read;
        private Cursor window;

        Windows(MatrixCursor first, Supplier<MatrixCursor> read) {
            super(first);
            this.read = read;
            window = first;
        }

        @Override
        public boolean moveToNext() {
            int next = window.getPosition() + 1;
            if (next > 0 && next % WINDOW == 0) {
                afterWindow.run();
                afterWindow = () -> { };
                window = read.get();
            }
            return window.moveToPosition(next);
        }

        @Override
        public boolean isNull(int column) {
            return window.isNull(column);
        }

        @Override
        public long getLong(int column) {
            return window.getLong(column);
        }

        @Override
        public String getString(int column) {
            return window.getString(column);
        }
    }

    /** By number, or the last taken first. */
    private Collection<Row> ordered(String order) {
        if (order == null || order.equals("_id")) {
            return rows.values();
        }
        if (!order.equals("COALESCE(datetaken, 1000 * date_modified) DESC")) {
            throw new IllegalArgumentException("The fake knows no other order than the last taken first: " + order);
        }
        List<Row> ordered = rows();
        ordered.sort(Comparator.comparing(
            (Row row) -> row.takenMs() == null ? row.file().lastModified() : row.takenMs()).reversed());
        return ordered;
    }

    /** Of "_id = 1" or "_id IN (1,2)"; null if others are asked for. */
    private static Set<Long> ids(String where) {
        if (where == null || where.startsWith(AFTER)) {
            return null;
        }
        if (!where.matches("_id (= [0-9]+|IN \\([0-9,]*\\))")) {
            throw new IllegalArgumentException("The fake knows no other condition than numbers: " + where);
        }
        Set<Long> ids = new HashSet<>();
        for (String number : where.replaceAll("[^0-9,]", "").split(",")) {
            ids.add(Long.valueOf(number));
        }
        return ids;
    }

    private Object value(Row row, String column) {
        return switch (column) {
            case MediaStore.MediaColumns._ID -> row.id();
            case MediaStore.MediaColumns.DATE_MODIFIED -> row.file().lastModified() / 1000;
            case MediaStore.MediaColumns.SIZE -> row.file().length();
            case MediaStore.MediaColumns.WIDTH -> Math.max(0, bounds(row).outWidth);
            case MediaStore.MediaColumns.HEIGHT -> Math.max(0, bounds(row).outHeight);
            case MediaStore.MediaColumns.MIME_TYPE -> row.kind();
            case MediaStore.MediaColumns.DISPLAY_NAME -> row.name();
            case "datetaken" -> row.takenMs();
            case "is_favorite" -> favourites.contains(row.id()) ? 1 : 0;
            case "relative_path" -> row.folder();
            case "_data" -> "/storage/" + (row.volume().startsWith("external") ? "emulated/0" : row.volume()) + "/"
                + row.folder() + row.name();
            default -> throw new IllegalArgumentException("The fake has no column " + column);
        };
    }

    private static BitmapFactory.Options bounds(Row row) {
        BitmapFactory.Options bounds = new BitmapFactory.Options();
        bounds.inJustDecodeBounds = true;
        BitmapFactory.decodeFile(row.file().getPath(), bounds);
        return bounds;
    }

    private void check() {
        if (failure != null) {
            throw failure;
        }
    }

    private synchronized Row row(Uri uri) throws FileNotFoundException {
        check();
        Row row = rows.get(ContentUris.parseId(uri));
        if (row == null || hidden.contains(row.id()) || !versions.containsKey(row.volume())) {
            throw new FileNotFoundException(uri.toString());
        }
        return row;
    }

    @Override
    public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
        opened.add(row(uri).name());
        return ParcelFileDescriptor.open(row(uri).file(), ParcelFileDescriptor.MODE_READ_ONLY);
    }

    @Override
    public String getType(Uri uri) {
        try {
            return row(uri).kind();
        } catch (FileNotFoundException error) {
            return null;
        }
    }

    @Override
    public Uri insert(Uri uri, ContentValues values) {
        throw new UnsupportedOperationException("The app writes no photo.");
    }

    @Override
    public int delete(Uri uri, String where, String[] values) {
        throw new UnsupportedOperationException("The app deletes no photo.");
    }

    @Override
    public int update(Uri uri, ContentValues values, String where, String[] arguments) {
        throw new UnsupportedOperationException("The app changes no photo.");
    }
}
