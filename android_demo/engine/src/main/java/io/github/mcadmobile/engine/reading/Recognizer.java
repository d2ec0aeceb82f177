package io.github.mcadmobile.engine.reading;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.Resize.Rgb;
import java.io.IOException;
import java.util.List;

/** Reads a line of text that was cut out of a photo. As mcad_mobile/engine/reading/recognizer.py. */
public final class Recognizer {
    static final int HEIGHT = Bundle.LINE_HEIGHT;
    /** Longer lines are narrowed. */
    static final int MOST_WIDTH = 100 * HEIGHT;
    private static final int WIDEST = 960;
    private static final int STEP = Bundle.LINE_STEP;
    private static final int WIDTHS = 4 * STEP;
    private static final int MARGIN = 6 * STEP;

    private final PixelTower tower;
    private final List<String> characters;
    private final boolean fixed;

    /** A text, and the mean confidence, 0 to 1, in its characters. */
    record Text(String text, double confidence) {}

    /**
     * {@code characters}: what the tower's outputs 1, 2, ... mean; {@code fixed}: it takes no other shape than the
     * bundle's.
     */
    public Recognizer(PixelTower tower, List<String> characters, boolean fixed) {
        this.tower = tower;
        this.characters = characters;
        this.fixed = fixed;
    }

    /** Read a line of {@link #HEIGHT} rows. McadException if the tower has other characters. */
    Text read(Rgb line) throws IOException {
        int most = fixed ? Bundle.LINE_WIDTH : WIDEST;
        StringBuilder text = new StringBuilder();
        double sum = 0;
        int count = 0;
        int before = 0;
        for (int start = 0; start == 0 || start < line.width() - 2 * MARGIN; start += most - 2 * MARGIN) {
            int width = Math.min(most, line.width() - start);
            int wide = fixed ? most : (width + WIDTHS - 1) / WIDTHS * WIDTHS;
            float[] output = tower.run(pixels(line, start, width, wide), HEIGHT, wide);
            int classes = output.length / (wide / STEP);
            if (classes != characters.size() + 1) {
                throw new McadException(McadException.Kind.BUNDLE, "The recognizer has " + (classes - 1)
                    + " characters, and the bundle names " + characters.size() + ".", McadException.EXPORT_AGAIN, null);
            }
            int end = wide / STEP - (start + most < line.width() ? MARGIN / STEP : 0);
            for (int column = start == 0 ? 0 : MARGIN / STEP; column < end; column++) {
                int best = 0;
                for (int i = 1; i < classes; i++) {
                    best = output[column * classes + i] > output[column * classes + best] ? i : best;
                }
                if (best > 0 && best != before) {
                    text.append(characters.get(best - 1));
                    sum += output[column * classes + best];
                    count++;
                }
                before = best;
            }
        }
        return new Text(text.toString(), count == 0 ? 0 : sum / count);
    }

    /** A piece of a line, filled up with 0 to [3, HEIGHT, wide]. */
    private static float[] pixels(Rgb line, int start, int width, int wide) {
        float[] pixels = new float[3 * HEIGHT * wide];
        for (int y = 0; y < HEIGHT; y++) {
            for (int x = 0; x < width; x++) {
                for (int channel = 0; channel < 3; channel++) {
                    byte value = line.bytes()[3 * (y * line.width() + start + x) + channel];
                    pixels[(channel * HEIGHT + y) * wide + x] = Detector.real(value);
                }
            }
        }
        return pixels;
    }
}
