package io.github.mcadmobile.platform;

import android.content.ContentResolver;
import android.content.ContentUris;
import android.content.Context;
import android.content.pm.PackageManager;
import android.database.Cursor;
import android.net.Uri;
import android.os.Build;
import android.os.Bundle;
import android.os.Environment;
import android.os.storage.StorageManager;
import android.os.storage.StorageVolume;
import android.provider.MediaStore;
import android.util.Log;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.gallery.MediaPath;
import io.github.mcadmobile.gallery.PhotoAccess;
import io.github.mcadmobile.gallery.PhotoLibrary;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;

/** The photos that Android lets the app see; see {@link MediaPath} for their indexed paths. */
public final class MediaPhotos implements PhotoLibrary {
    private static final boolean HAS_VOLUMES = Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q;
    /** The name of all volumes. */
    static final String ALL = "external";
    private static final String ID = MediaStore.Images.Media._ID;
    /** The last is the folder, or before Android 10 the file. */
    private static final String PLACE = HAS_VOLUMES ? MediaStore.Images.Media.RELATIVE_PATH : MediaStore.Images.Media.DATA;
    private static final String[] COLUMNS = {ID, MediaStore.Images.Media.DATE_MODIFIED, MediaStore.Images.Media.SIZE,
        MediaStore.Images.Media.MIME_TYPE, MediaStore.Images.Media.DATE_TAKEN, PLACE};
    private static final String[] NAMES = {ID, MediaStore.Images.Media.DISPLAY_NAME, PLACE};
    /** SQLite accepts a thousand values per query, and the provider adds some. */
    private static final int AT_ONCE = 500;
    /** Rows that fit a cursor's window of two megabytes. */
    private static final int PAGE = 2000;
    private static final String LOCATION = "android.permission.ACCESS_MEDIA_LOCATION";
    private static final String TRY_AGAIN = "Try again. If it fails again, restart the phone.";

    /** Sorts by the same date as {@link Item#takenMs}. */
    private static final String NEWEST_FIRST = "COALESCE(" + MediaStore.Images.Media.DATE_TAKEN + ", 1000 * "
        + MediaStore.Images.Media.DATE_MODIFIED + ") DESC";

    private final Context context;
    private final boolean videos;

    /** Lists videos, too, which are searched by their moments, if the app's manifest asks for READ_MEDIA_VIDEO. */
    public MediaPhotos(Context context) {
        this.context = context;
        try {
            String[] asked = context.getPackageManager().getPackageInfo(
                context.getPackageName(), PackageManager.GET_PERMISSIONS).requestedPermissions;
            videos = asked != null && List.of(asked).contains(PhotoAccess.READ_VIDEO);
        } catch (PackageManager.NameNotFoundException impossible) {
            throw new IllegalStateException(impossible); // it is this app
        }
    }

    public PhotoAccess.State access() {
        return PhotoAccess.state(Build.VERSION.SDK_INT, videos,
            permission -> context.checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED);
    }

    /** The collections of a volume that are listed; those of "external" are of all volumes. */
    List<Uri> collections(String volume) {
        return videos ? List.of(collection(volume, false), collection(volume, true))
            : List.of(collection(volume, false));
    }

    private static Uri collection(String volume, boolean video) {
        String name = HAS_VOLUMES ? volume : ALL;
        return video ? MediaStore.Video.Media.getContentUri(name) : MediaStore.Images.Media.getContentUri(name);
    }

    /** Newest first: users search for recent photos first. */
    @Override
    public Listing list() throws IOException {
        checkAccess(); // without it the list is empty
        List<Item> items = new ArrayList<>();
        Map<String, String> volumes = new LinkedHashMap<>();
        try {
            if (HAS_VOLUMES) {
                readVolumes(items, volumes);
            } else {
                for (StorageVolume volume : context.getSystemService(StorageManager.class).getStorageVolumes()) {
                    if (Environment.MEDIA_MOUNTED.equals(volume.getState())) {
                        String name = volume.isPrimary() ? MediaPath.PRIMARY : volume.getUuid();
                        volumes.put(String.valueOf(name), MediaStore.getVersion(context));
                    }
                }
                for (Uri collection : collections(ALL)) {
                    readAll(collection, items);
                }
            }
        } catch (RuntimeException error) { // thrown by the provider
            throw failed(error);
        }
        items.sort((a, b) -> Long.compare(b.modifiedMs(), a.modifiedMs()));
        return new Listing(items, volumes, access() == PhotoAccess.State.ALL);
    }

    /** A failing volume, such as a card just taken out, counts as unmounted. */
    private void readVolumes(List<Item> items, Map<String, String> volumes) throws McadException {
        Exception failure = null;
        for (String volume : MediaStore.getExternalVolumeNames(context)) {
            List<Item> ofVolume = new ArrayList<>();
            try {
                String version = MediaStore.getVersion(context, volume);
                for (Uri collection : collections(volume)) {
                    readAll(collection, ofVolume);
                }
                volumes.put(volume, version);
                items.addAll(ofVolume);
            } catch (McadException | RuntimeException error) {
                Log.w(MediaSearch.TAG, volume, error);
                failure = error;
            }
        }
        if (volumes.isEmpty() && failure != null) {
            throw failed(failure);
        }
    }

    private static McadException failed(Exception error) {
        return new McadException(McadException.Kind.PHOTOS, "MediaStore failed: " + error + ".", TRY_AGAIN, error);
    }

    /** Android 11 and later count the changes of each volume, but not changes of the photos that the user selected. */
    @Override
    public String state() {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.R || access() != PhotoAccess.State.ALL) {
            return "";
        }
        StringBuilder state = new StringBuilder();
        try {
            for (String volume : MediaStore.getExternalVolumeNames(context)) {
                state.append(volume).append(' ').append(MediaStore.getVersion(context, volume)).append(' ')
                    .append(MediaStore.getGeneration(context, volume)).append('\n');
            }
        } catch (RuntimeException error) { // thrown by the provider: only a listing can tell
            return "";
        }
        return state.toString();
    }

    /** A cursor counts rows anew for each window, and would skip as many as were deleted meanwhile. */
    private void readAll(Uri images, List<Item> items) throws McadException {
        long[] last = {-1};
        int rows;
        do {
            Bundle page = new Bundle();
            page.putString(ContentResolver.QUERY_ARG_SQL_SELECTION, ID + " > " + last[0]);
            page.putString(ContentResolver.QUERY_ARG_SQL_SORT_ORDER, ID);
            page.putInt(ContentResolver.QUERY_ARG_LIMIT, PAGE); // before Android 11, all are answered
            int before = items.size();
            read(images, page, item -> {
                last[0] = ContentUris.parseId(Uri.parse(MediaPath.uri(item.path())));
                return items.add(item) && items.size() - before < PAGE;
            });
            rows = items.size() - before;
        } while (rows == PAGE);
    }

    /** {@code more} takes a photo and returns false when it needs no more. */
    private void read(Uri images, Bundle query, Predicate<Item> more) throws McadException {
        try (Cursor cursor = context.getContentResolver().query(images, COLUMNS, query, null)) {
            if (cursor == null) {
                throw new McadException(
                    McadException.Kind.PHOTOS, "MediaStore does not answer a query of " + images + ".", TRY_AGAIN, null);
            }
            Map<String, String> once = new HashMap<>(); // share the strings of kinds and folders
            boolean wanted = true;
            while (wanted && cursor.moveToNext()) {
                String uri = ContentUris.withAppendedId(images, cursor.getLong(0)).toString();
                String place = cursor.getString(5);
                String kind = String.valueOf(cursor.getString(3));
                String folder = folder(place);
                long modifiedMs = 1000 * cursor.getLong(1); // MediaStore stores seconds
                long takenMs = cursor.isNull(4) ? modifiedMs : cursor.getLong(4);
                wanted = more.test(new Item(HAS_VOLUMES ? uri : MediaPath.of(uri, place), modifiedMs, cursor.getLong(2),
                    once.computeIfAbsent(kind, same -> same), once.computeIfAbsent(folder, same -> same), takenMs));
            }
        }
    }

    private static String folder(String place) {
        return HAS_VOLUMES ? MediaPath.folder(place == null ? "" : place, null) : MediaPath.folder(null, place);
    }

    /** Reads no more rows of a volume than needed: a phone may have a hundred thousand. */
    @Override
    public List<Item> recent(int most, Predicate<Item> wanted) throws IOException {
        checkAccess();
        List<Item> items = new ArrayList<>();
        Set<Uri> volumes = new HashSet<>();
        for (String volume : HAS_VOLUMES ? MediaStore.getExternalVolumeNames(context) : Set.of(ALL)) {
            volumes.addAll(collections(volume));
        }
        for (Uri images : volumes) {
            List<Item> ofVolume = new ArrayList<>();
            try {
                Bundle order = new Bundle();
                order.putString(ContentResolver.QUERY_ARG_SQL_SORT_ORDER, NEWEST_FIRST);
                read(images, order, item -> !wanted.test(item) || ofVolume.add(item) && ofVolume.size() < most);
            } catch (McadException | RuntimeException error) {
                Log.w(MediaSearch.TAG, error); // show the other volumes
            }
            items.addAll(ofVolume);
        }
        items.sort((a, b) -> Long.compare(b.takenMs(), a.takenMs()));
        return items.subList(0, Math.min(most, items.size()));
    }

    @Override
    public String volume(String path) {
        return MediaPath.volume(path);
    }

    @Override
    public Set<String> visible(List<String> paths) throws IOException {
        return names(paths).keySet();
    }

    @Override
    public Map<String, String> names(List<String> paths) throws IOException {
        if (access() == PhotoAccess.State.NONE) {
            return Map.of();
        }
        Map<Uri, Map<Long, String>> idsPerVolume = new HashMap<>();
        for (String path : paths) {
            String volume = MediaPath.volume(path);
            if (!volume.isEmpty()) {
                Uri images = collection(volume, Moments.isVideo(path));
                Map<Long, String> ids = idsPerVolume.computeIfAbsent(images, none -> new LinkedHashMap<>());
                ids.put(ContentUris.parseId(Uri.parse(MediaPath.uri(path))), path);
            }
        }
        Map<String, String> visible = new HashMap<>();
        int answers = 0;
        RuntimeException failure = null;
        for (Map.Entry<Uri, Map<Long, String>> volume : idsPerVolume.entrySet()) {
            try {
                askForAll(volume.getKey(), volume.getValue(), visible);
                answers++;
            } catch (IllegalArgumentException notMounted) {
                answers++; // the volume is gone, and so are its photos
            } catch (RuntimeException error) {
                Log.w(MediaSearch.TAG, error);
                failure = error;
            }
        }
        if (answers == 0 && failure != null) {
            throw failed(failure);
        }
        return visible;
    }

    private void askForAll(Uri images, Map<Long, String> paths, Map<String, String> visible) {
        List<Long> ids = new ArrayList<>(paths.keySet());
        for (int start = 0; start < ids.size(); start += AT_ONCE) {
            ask(images, ids.subList(start, Math.min(start + AT_ONCE, ids.size())), paths, visible);
        }
    }

    private void ask(Uri images, List<Long> ids, Map<Long, String> paths, Map<String, String> visible) {
        StringBuilder numbers = new StringBuilder();
        for (long id : ids) {
            numbers.append(numbers.length() == 0 ? "" : ",").append(id);
        }
        String where = ID + " IN (" + numbers + ")";
        try (Cursor cursor = context.getContentResolver().query(images, NAMES, where, null, null)) {
            if (cursor == null) { // else photos of a provider that has died would count as deleted
                throw new IllegalStateException("MediaStore does not answer a query of " + images + ".");
            }
            while (cursor.moveToNext()) {
                visible.put(paths.get(cursor.getLong(0)), folder(cursor.getString(2)) + "/" + cursor.getString(1));
            }
        }
    }

    @Override
    public void checkAccess() throws McadException {
        if (access() == PhotoAccess.State.NONE) {
            throw new McadException(McadException.Kind.ACCESS, "The app may not see photos.", "Allow access.", null);
        }
    }

    @Override
    public PhotoDecoder.Source open(String path) {
        Uri uri = Uri.parse(MediaPath.uri(path));
        return source(HAS_VOLUMES && hasPlaces() ? MediaStore.setRequireOriginal(uri) : uri);
    }

    /** Without a permission, Android 10 and later leave out where a photo was taken. */
    @Override
    public boolean hasPlaces() {
        return !HAS_VOLUMES || context.checkSelfPermission(LOCATION) == PackageManager.PERMISSION_GRANTED;
    }

    @Override
    public VideoFrames frames(String path) throws IOException {
        return VideoFrames.open(context, Uri.parse(MediaPath.uri(path)));
    }

    /** A photo by any content URI, such as one shared by another app. */
    public PhotoDecoder.Source source(Uri uri) {
        return new MediaSource(context.getContentResolver(), uri);
    }

    /** A photo by URI, for a decoder that opens URIs itself. */
    record MediaSource(ContentResolver resolver, Uri uri) implements PhotoDecoder.Source {
        @Override
        public InputStream open() throws IOException {
            InputStream in;
            try {
                in = resolver.openInputStream(uri);
            } catch (RuntimeException error) { // access was revoked, or the provider failed
                throw new McadException(
                    uri + " cannot be opened: " + error + ".", "Check that the app may still see this photo.", error);
            }
            if (in == null) {
                throw new FileNotFoundException(uri.toString());
            }
            return in;
        }
    }

    /** A photo's metadata; empty if the app cannot see the photo. */
    public Optional<Item> item(String path) {
        Uri uri = Uri.parse(MediaPath.uri(path));
        List<Item> found = new ArrayList<>();
        try {
            Uri images = collection(MediaPath.volume(path), Moments.isVideo(path));
            Bundle query = new Bundle();
            query.putString(ContentResolver.QUERY_ARG_SQL_SELECTION, ID + " = " + ContentUris.parseId(uri));
            read(images, query, found::add);
        } catch (McadException | RuntimeException error) {
            Log.w(MediaSearch.TAG, error);
        }
        return found.isEmpty() ? Optional.empty() : Optional.of(found.get(0));
    }

    /**
     * What a viewer shows of a file beside its {@link Item}.
     *
     * @param width in pixels, before it is turned upright; 0 if unknown
     * @param favourite whether the user marked it (Android 11 and later)
     */
    public record Details(long width, long height, boolean favourite) {}

    public Details details(String path) {
        boolean hasFavourites = Build.VERSION.SDK_INT >= Build.VERSION_CODES.R;
        String[] columns = {MediaStore.Images.Media.WIDTH, MediaStore.Images.Media.HEIGHT,
            hasFavourites ? MediaStore.Images.Media.IS_FAVORITE : ID};
        try (Cursor cursor = context.getContentResolver().query(
                Uri.parse(MediaPath.uri(path)), columns, null, null, null)) {
            if (cursor != null && cursor.moveToFirst()) {
                return new Details(cursor.getLong(0), cursor.getLong(1), hasFavourites && cursor.getLong(2) == 1);
            }
        } catch (RuntimeException error) {
            Log.w(MediaSearch.TAG, error);
        }
        return new Details(0, 0, false);
    }
}
