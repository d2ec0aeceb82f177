package mcad.demo;

import android.content.ContentResolver;
import android.content.ContentUris;
import android.content.Context;
import android.content.pm.PackageManager;
import android.database.Cursor;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import mcad.engine.McadException;
import mcad.engine.PhotoDecoder;
import mcad.engine.gallery.PhotoAccess;
import mcad.engine.gallery.PhotoLibrary;

/** The photos that Android lets the app see; the index knows each by its content URI. */
final class Gallery implements PhotoLibrary {
    private static final Uri IMAGES = MediaStore.Images.Media.EXTERNAL_CONTENT_URI;
    private static final String[] COLUMNS = {
        MediaStore.Images.Media._ID, MediaStore.Images.Media.DATE_MODIFIED, MediaStore.Images.Media.SIZE};

    private final Context context;

    Gallery(Context context) {
        this.context = context;
    }

    PhotoAccess.State access() {
        return PhotoAccess.state(Build.VERSION.SDK_INT,
            permission -> context.checkSelfPermission(permission) == PackageManager.PERMISSION_GRANTED);
    }

    /** Newest first: what was just taken is searched for first. */
    @Override
    public List<Item> list() throws IOException {
        checkAccess(); // without it the list is empty, and an index brought in step with it would be too
        List<Item> items = new ArrayList<>();
        String newest = MediaStore.Images.Media.DATE_MODIFIED + " DESC";
        try (Cursor cursor = context.getContentResolver().query(IMAGES, COLUMNS, null, null, newest)) {
            if (cursor == null) {
                throw new McadException(McadException.Kind.PHOTOS, "MediaStore does not answer.", "", null);
            }
            while (cursor.moveToNext()) {
                Uri uri = ContentUris.withAppendedId(IMAGES, cursor.getLong(0));
                items.add(new Item(uri.toString(), 1000 * cursor.getLong(1), cursor.getLong(2))); // it tells seconds
            }
        } catch (RuntimeException error) { // of the provider, on the other side
            throw new McadException(McadException.Kind.PHOTOS, "MediaStore failed: " + error + ".", "", error);
        }
        return items;
    }

    @Override
    public void checkAccess() throws McadException {
        if (access() == PhotoAccess.State.NONE) {
            throw new McadException(McadException.Kind.ACCESS, "The app may not see photos.", "Allow access.", null);
        }
    }

    @Override
    public PhotoDecoder.Source open(String path) {
        ContentResolver resolver = context.getContentResolver();
        return () -> {
            InputStream in;
            try {
                in = resolver.openInputStream(Uri.parse(path));
            } catch (RuntimeException error) { // access was taken back meanwhile, or the provider failed
                throw new IOException(error);
            }
            if (in == null) {
                throw new FileNotFoundException(path);
            }
            return in;
        };
    }

    /** A photo's file name, for a screen reader; its URI where Android tells none. */
    String name(String path) {
        String[] column = {MediaStore.Images.Media.DISPLAY_NAME};
        try (Cursor cursor = context.getContentResolver().query(Uri.parse(path), column, null, null, null)) {
            return cursor != null && cursor.moveToFirst() && cursor.getString(0) != null ? cursor.getString(0) : path;
        } catch (RuntimeException error) {
            return path;
        }
    }
}
