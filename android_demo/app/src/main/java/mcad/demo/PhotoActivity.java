package mcad.demo;

import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.ImageView;
import android.widget.Toast;
import java.io.IOException;
import mcad.gallery.MediaPath;
import mcad.platform.BitmapDecoder;
import mcad.platform.MediaPhotos;

/** One photo: look, share, find more like it, open it in the phone's gallery. */
public final class PhotoActivity extends DetailActivity {
    /** The photo's path in the index. */
    static final String PATH = "mcad.demo.PATH";

    private static final int SIDE = 1600;
    private static final String ANY_IMAGE = "image/*";

    private String path;
    private Uri photo;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.photo);
        path = getIntent().getStringExtra(PATH);
        photo = Uri.parse(MediaPath.uri(path));
        findViewById(R.id.share).setOnClickListener(this::share);
        findViewById(R.id.like).setOnClickListener(this::like);
        findViewById(R.id.open).setOnClickListener(this::open);
        new Thread(this::load, "photo").start();
    }

    private void load() {
        MediaPhotos photos = new MediaPhotos(this);
        Bitmap bitmap;
        try {
            bitmap = BitmapDecoder.show(photos.open(path), SIDE);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            Words.log(error);
            bitmap = null;
        }
        String day = Words.day(photos.takenMs(path));
        Bitmap loaded = bitmap;
        DemoApp.SCREEN.post(() -> show(loaded, day));
    }

    private void show(Bitmap bitmap, String day) {
        if (bitmap == null) {
            Toast.makeText(this, R.string.photo_gone, Toast.LENGTH_LONG).show();
            finish();
            return;
        }
        ImageView view = findViewById(R.id.photo);
        view.setImageBitmap(bitmap);
        if (!day.isEmpty()) {
            view.setContentDescription(getString(R.string.photo_of, day));
            setTitle(day);
        }
    }

    private void share(View button) {
        Intent send = new Intent(Intent.ACTION_SEND).setType(ANY_IMAGE).putExtra(Intent.EXTRA_STREAM, photo)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        startActivity(Intent.createChooser(send, getString(R.string.share)));
    }

    /** On a screen of its own: back from it leads here, and from here to what was found before. */
    private void like(View button) {
        startActivity(new Intent(this, SearchActivity.class).putExtra(SearchActivity.LIKE, path));
    }

    private void open(View button) {
        Intent view = new Intent(Intent.ACTION_VIEW).setDataAndType(photo, ANY_IMAGE)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        try {
            startActivity(view);
        } catch (ActivityNotFoundException error) {
            Toast.makeText(this, R.string.no_app, Toast.LENGTH_LONG).show();
        }
    }
}
