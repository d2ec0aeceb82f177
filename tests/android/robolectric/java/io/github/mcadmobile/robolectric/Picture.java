package io.github.mcadmobile.robolectric;

import android.app.Activity;
import android.graphics.Bitmap;
import android.graphics.Canvas;
import android.graphics.Color;
import android.util.DisplayMetrics;
import android.view.Gravity;
import android.view.View;
import android.view.WindowManager;
import android.view.WindowManagerGlobal;
import java.io.File;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import org.robolectric.util.ReflectionHelpers;

/** Pictures of what the phone shows: a screen, and the dialogs and menus over it. */
public final class Picture {
    private Picture() {}

    /** What is shown now, as pixels. */
    public static Bitmap of(Activity screen) {
        DisplayMetrics size = new DisplayMetrics();
        screen.getWindowManager().getDefaultDisplay().getRealMetrics(size);
        Bitmap picture = Bitmap.createBitmap(size.widthPixels, size.heightPixels, Bitmap.Config.ARGB_8888);
        Canvas canvas = new Canvas(picture);
        for (View window : windows(screen)) {
            WindowManager.LayoutParams layout = (WindowManager.LayoutParams) window.getLayoutParams();
            if ((layout.flags & WindowManager.LayoutParams.FLAG_DIM_BEHIND) != 0) {
                canvas.drawColor(Color.argb(Math.round(255 * layout.dimAmount), 0, 0, 0));
            }
            int[] place = new int[2];
            window.getLocationOnScreen(place);
            if (layout.gravity == Gravity.CENTER) { // Robolectric leaves dialogs in the corner
                place[0] = (size.widthPixels - window.getWidth()) / 2;
                place[1] = (size.heightPixels - window.getHeight()) / 2;
            }
            canvas.save();
            canvas.translate(place[0], place[1]);
            window.draw(canvas);
            canvas.restore();
        }
        return picture;
    }

    /** The screen's window and those over it. */
    public static List<View> windows(Activity screen) {
        // The method that returns them is another one before API 29.
        List<View> views = ReflectionHelpers.getField(WindowManagerGlobal.getInstance(), "mViews");
        List<View> windows = new ArrayList<>(views);
        windows.subList(0, Math.max(0, windows.indexOf(screen.getWindow().getDecorView()))).clear();
        return windows;
    }

    /** Whether there is a folder for them, mcad.screens: by {@code make screens}, and in slow tests. */
    public static boolean areKept() {
        return System.getProperty("mcad.screens") != null;
    }

    /** Draw it, and write it as a PNG if pictures are kept, which takes longer. */
    public static void save(Activity screen, String look, String name) throws IOException {
        Bitmap picture = of(screen);
        if (areKept()) {
            File folder = new File(System.getProperty("mcad.screens"), look);
            Files.createDirectories(folder.toPath());
            try (OutputStream out = Files.newOutputStream(new File(folder, name + ".png").toPath())) {
                picture.compress(Bitmap.CompressFormat.PNG, 100, out);
            }
        }
    }
}
