package io.github.mcadmobile.demo;

import android.app.Activity;
import android.content.ClipData;
import android.content.Context;
import android.content.Intent;
import android.net.Uri;
import android.os.Build;
import android.provider.MediaStore;

/** A query photo that need not be indexed: shared by another app, or picked by the user. */
final class OtherPhoto {
    private static final String ANY_IMAGE = "image/*";

    private OtherPhoto() {}

    /** The photo that another app shared, which Android copies to the clip data; else null. */
    static Uri shared(Intent intent) {
        return Intent.ACTION_SEND.equals(intent.getAction()) ? first(intent.getClipData()) : null;
    }

    /** Opens Android's photo picker. */
    static Intent pick() {
        return Build.VERSION.SDK_INT >= Build.VERSION_CODES.TIRAMISU
            ? new Intent(MediaStore.ACTION_PICK_IMAGES).setType(ANY_IMAGE)
            : new Intent(Intent.ACTION_GET_CONTENT).addCategory(Intent.CATEGORY_OPENABLE).setType(ANY_IMAGE);
    }

    /** The picked photo, or null. */
    static Uri picked(int result, Intent answer) {
        return result == Activity.RESULT_OK && answer != null ? answer.getData() : null;
    }

    /** Opens a new screen with photos like this one, as if it had been shared; back returns here. */
    static Intent search(Context context, Uri photo) {
        Intent intent = new Intent(context, SearchActivity.class).setAction(Intent.ACTION_SEND);
        intent.setClipData(ClipData.newRawUri(null, photo));
        return intent;
    }

    private static Uri first(ClipData clip) {
        return clip != null && clip.getItemCount() > 0 ? clip.getItemAt(0).getUri() : null;
    }
}
