package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Filters photos that are duplicates of earlier results, by their embeddings in the index. */
final class DuplicateFilter {
    private final PhotoIndex index;
    private final float threshold;
    private final List<float[]> shown = new ArrayList<>();

    /** {@code threshold}: the least cosine of two duplicates; over 1 to filter none. */
    DuplicateFilter(PhotoIndex index, float threshold) {
        this.index = index;
        this.threshold = threshold;
    }

    /** Whether the photo duplicates no earlier one; if so, later photos are compared with it too. */
    boolean isNew(String path) throws IOException {
        if (threshold > 1) {
            return true;
        }
        float[] embedding = index.embedding(path);
        for (float[] before : shown) {
            if (Vectors.cosine(before, embedding) >= threshold) {
                return false;
            }
        }
        shown.add(embedding);
        return true;
    }
}
