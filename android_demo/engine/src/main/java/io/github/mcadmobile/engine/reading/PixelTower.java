package io.github.mcadmobile.engine.reading;

import java.io.IOException;

/** A tower of a reader: pixels [3, height, width], from -1 to 1, to its output, flattened. */
public interface PixelTower {
    float[] run(float[] pixels, int height, int width) throws IOException;
}
