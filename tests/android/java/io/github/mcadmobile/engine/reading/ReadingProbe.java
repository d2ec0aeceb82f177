package io.github.mcadmobile.engine.reading;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Tower;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.List;

/** What reads the text in photos, as an NPU's fixed shapes have it, and wrong uses of its kernel. */
public final class ReadingProbe {
    private ReadingProbe() {}

    /** A reader that takes no other shapes than the bundle's. */
    public static Reader ofFixedShapes(Bundle bundle) throws IOException {
        Ladder ladder = new Ladder(bundle, 1, List.of());
        Tower detector = ladder.chooseRung("detector").tower();
        Tower recognizer = ladder.chooseRung("recognizer").tower();
        List<String> characters = Files.readAllLines(bundle.path(bundle.reader.characters()));
        return new Reader(new Detector(detector::run, true), new Recognizer(recognizer::run, characters, true));
    }

    public static List<Runnable> wrong() {
        ByteBuffer map = ByteBuffer.allocateDirect(4 * 6);
        float[] boxes = new float[9];
        return List.of(
            () -> Detector.boxes(null, 3, 2, boxes),
            () -> Detector.boxes(ByteBuffer.allocate(24), 3, 2, boxes),
            () -> Detector.boxes(map, 3, 3, boxes),
            () -> Detector.boxes(map, 0, 2, boxes),
            () -> Detector.boxes(map, 3, 0, boxes),
            () -> Detector.boxes(map, -3, -2, boxes),
            () -> Detector.boxes(map, 1 << 15, 1, boxes),
            () -> Detector.boxes(map, 1 << 14, 1 << 14, boxes),
            () -> Detector.boxes(map, 3, 2, null),
            () -> Detector.boxes(map, 3, 2, new float[8]));
    }
}
