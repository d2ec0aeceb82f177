package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.IOException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Random;

/** Adds and deletes photos, commit after commit, and says after each how many there are; a test kills it. */
final class WriteForever {
    private static final int DIM = 64;
    private static final int BATCH = 40;

    private WriteForever() {}

    public static void main(String[] arguments) throws IOException {
        Path directory = Paths.get(arguments[0]);
        try (PhotoIndex index = PhotoIndex.openOrCreate(directory, DIM, "tiny", "0")) {
            Random random = new Random(index.photos());
            while (true) {
                int known = index.photos();
                try (IndexWriter writer = index.writer()) {
                    for (int i = 0; i < BATCH; i++) {
                        float[] vector = new float[DIM];
                        for (int j = 0; j < DIM; j++) {
                            vector[j] = random.nextFloat() - 0.5f;
                        }
                        writer.add("photo " + random.nextInt(1 << 30) + ".jpg", Vectors.normalized(vector), known, i);
                    }
                    writer.commit();
                }
                System.out.println(index.photos());
                System.out.flush();
            }
        }
    }
}
