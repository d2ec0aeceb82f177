package io.github.mcadmobile.platform;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import android.graphics.Bitmap;
import android.graphics.RectF;
import android.media.ExifInterface;
import android.os.Build;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.photos.Preprocess;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.FileInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.Test;
import org.robolectric.annotation.Config;

/** Photos as Android's decoders and the app turn them into a tower's input, beside those of Python. */
public final class DecoderTest extends AppTestCase {
    private static final Path FOLDER = Path.of(System.getProperty("mcad.pixels"));

    /** Each line of pixels.txt: a photo, by how many of 256 levels the worst and the mean value may differ. */
    @Test
    public void pixelsAreThoseOfPython() throws IOException {
        Preprocess preprocess = search().bundle().preprocess;
        BitmapDecoder decoder = new BitmapDecoder();
        List<String> wrong = new ArrayList<>();
        List<String> lines = Files.readAllLines(FOLDER.resolve("pixels.txt"));
        for (String line : lines) {
            String[] fields = line.split(" ");
            Path photo = FOLDER.resolve(fields[0]);
            float[] found = preprocess.pixels(decoder, () -> Files.newInputStream(photo));
            float[] expected = floats(FOLDER.resolve(fields[0] + ".f32"));
            assertEquals(expected.length, found.length);
            double worst = 0;
            double sum = 0;
            for (int i = 0; i < found.length; i++) {
                double levels = Math.abs(found[i] - expected[i]) * Float.parseFloat(fields[3]) * 255;
                worst = Math.max(worst, levels);
                sum += levels;
            }
            String measured = String.format("%s: worst %.2f, mean %.3f levels", fields[0], worst, sum / found.length);
            System.out.println(measured);
            if (worst > Double.parseDouble(fields[1]) || sum / found.length > Double.parseDouble(fields[2])) {
                wrong.add(measured);
            }
        }
        assertTrue(lines.size() > 15);
        assertTrue(String.join("\n", wrong), wrong.isEmpty());
    }

    /** What a screen shows stands upright, too: the left half of this photo is dark, the right one light. */
    @Test
    public void aPhotoIsShownUpright() throws IOException {
        for (int orientation = 1; orientation <= 8; orientation++) {
            Path photo = FOLDER.resolve("halves" + orientation + ".jpg");
            Bitmap shown = BitmapDecoder.show(() -> new FileInputStream(photo.toFile()), 200);
            assertTrue(shown.getWidth() > shown.getHeight());
            assertTrue("orientation " + orientation, dark(shown, 0.1f) && !dark(shown, 0.9f));
        }
    }

    @Test
    public void aPartOfAPhotoIsThatOfTheUprightWhole() throws IOException {
        RectF part = new RectF(0.25f, 0.1f, 0.5f, 0.6f);
        for (int orientation = 1; orientation <= 8; orientation++) {
            Path photo = app().getCacheDir().toPath().resolve("turned" + orientation + ".jpg");
            Files.copy(packaged("china.jpg").toPath(), photo);
            ExifInterface exif = new ExifInterface(photo.toString());
            exif.setAttribute(ExifInterface.TAG_ORIENTATION, String.valueOf(orientation));
            exif.saveAttributes();
            Bitmap whole = BitmapDecoder.show(() -> Files.newInputStream(photo), 400);
            try (PhotoRegions regions = PhotoRegions.open(() -> Files.newInputStream(photo))) {
                assertEquals(whole.getWidth(), regions.width(), 0);
                Bitmap cut = Bitmap.createBitmap(whole, whole.getWidth() / 4, whole.getHeight() / 10, whole.getWidth() / 4,
                    whole.getHeight() / 2);
                Bitmap found = regions.decode(part, cut.getWidth());
                assertEquals(cut.getWidth(), found.getWidth(), 2); // rounded outwards
                assertEquals(cut.getHeight(), found.getHeight(), 2);
                assertTrue("orientation " + orientation, difference(cut, found) < 8);
                assertEquals(cut.getWidth() / 2f, regions.decode(part, cut.getWidth() / 2).getWidth(), 2);
            }
        }
    }

    /** The mean difference in levels of two pictures' 64 parts. */
    private static double difference(Bitmap a, Bitmap b) {
        double sum = 0;
        for (int i = 0; i < 64; i++) {
            sum += Math.abs(level(a, i % 8, i / 8) - level(b, i % 8, i / 8));
        }
        return sum / 64;
    }

    private static double level(Bitmap picture, int column, int row) {
        int width = picture.getWidth() / 8;
        int height = picture.getHeight() / 8;
        int[] pixels = new int[width * height];
        picture.getPixels(pixels, 0, width, column * width, row * height, width, height);
        return Arrays.stream(pixels).map(pixel -> pixel & 0xff).average().getAsDouble();
    }

    /** A JPEG by as much as its tower can do without, others to what a phone's memory holds. */
    @Test
    public void aLargePhotoIsReducedAsItIsDecoded() throws IOException {
        BitmapDecoder decoder = new BitmapDecoder();
        try (Photo jpeg = decoder.decode(() -> Files.newInputStream(FOLDER.resolve("large.jpg")), 256);
                Photo png = decoder.decode(() -> Files.newInputStream(FOLDER.resolve("large.png")), 256)) {
            assertEquals(9000 / 8, jpeg.width());
            assertEquals(5400 / 2, png.width());
        }
    }

    @Test
    public void aLargePhotoIsShownSmaller() throws IOException {
        Bitmap shown = BitmapDecoder.show(() -> new FileInputStream(FOLDER.resolve("large.jpg").toFile()), 200);
        assertTrue(shown.getWidth() + " pixels", shown.getWidth() >= 200 && shown.getWidth() < 400);
    }

    /** They were decoded without rotation before. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.P)
    public void photosThatAreDecodedOtherwiseThanBeforeAreEmbeddedAgain() {
        BitmapDecoder decoder = new BitmapDecoder();
        for (String kind : new String[] {"image/heic", "image/heif", "image/avif"}) {
            assertEquals(1, decoder.revision(kind));
        }
        assertEquals(0, decoder.revision("image/jpeg"));
    }

    private static boolean dark(Bitmap bitmap, float across) {
        return (bitmap.getPixel((int) (across * bitmap.getWidth()), bitmap.getHeight() / 2) & 0xff) < 128;
    }

    private static float[] floats(Path file) throws IOException {
        FloatBuffer buffer = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[] values = new float[buffer.remaining()];
        buffer.get(values);
        return values;
    }
}
