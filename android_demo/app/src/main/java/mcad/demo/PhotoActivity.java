package mcad.demo;

import android.app.Activity;
import android.content.ActivityNotFoundException;
import android.content.Intent;
import android.graphics.Bitmap;
import android.net.Uri;
import android.os.Bundle;
import android.view.View;
import android.widget.ImageView;
import android.widget.Toast;
import java.io.IOException;

/** One photo: look, share, find more like it, open it in the phone's gallery. */
public final class PhotoActivity extends Activity {
    private static final int SIDE = 1600;
    private static final String ANY_IMAGE = "image/*";

    private DemoEngine demo;
    private Uri photo;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.photo);
        demo = DemoEngine.of(this);
        photo = getIntent().getData();
        findViewById(R.id.share).setOnClickListener(this::share);
        findViewById(R.id.like).setOnClickListener(this::like);
        findViewById(R.id.open).setOnClickListener(this::open);
        Thumbnails loader = new Thumbnails(this);
        new Thread(() -> load(loader), "photo").start();
    }

    private void load(Thumbnails loader) {
        Bitmap bitmap;
        try {
            bitmap = loader.decode(photo.toString(), SIDE);
        } catch (IOException | RuntimeException | OutOfMemoryError error) {
            bitmap = null;
        }
        loader.close();
        String name = new Gallery(this).name(photo.toString());
        Bitmap loaded = bitmap;
        demo.screen.post(() -> show(loaded, name));
    }

    private void show(Bitmap bitmap, String name) {
        if (bitmap == null) {
            Toast.makeText(this, R.string.photo_gone, Toast.LENGTH_LONG).show();
            finish();
            return;
        }
        ImageView view = findViewById(R.id.photo);
        view.setImageBitmap(bitmap);
        view.setContentDescription(name);
        setTitle(name);
    }

    private void share(View button) {
        Intent send = new Intent(Intent.ACTION_SEND).setType(ANY_IMAGE).putExtra(Intent.EXTRA_STREAM, photo)
            .addFlags(Intent.FLAG_GRANT_READ_URI_PERMISSION);
        startActivity(Intent.createChooser(send, getString(R.string.share)));
    }

    private void like(View button) {
        startActivity(new Intent(this, SearchActivity.class).addFlags(Intent.FLAG_ACTIVITY_CLEAR_TOP)
            .putExtra(SearchActivity.LIKE, photo.toString()));
        finish();
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
