package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** The first {@code most} stacks of near duplicates, by their embeddings in the index: mcad_mobile/engine/stacks.py. */
record Stacks(PhotoIndex index, float threshold, int most, List<float[]> embeddings, List<SearchEngine.Result> results) {
    /** {@code threshold}: the least cosine of two photos on a stack; over 1, each photo stays alone. */
    Stacks(PhotoIndex index, float threshold, int most) {
        this(index, threshold, most, new ArrayList<>(), new ArrayList<>());
    }

    /** Add a result to the first stack that it resembles, or begin another; results come best first. */
    void add(SearchEngine.Result result) throws IOException {
        if (threshold <= 1) {
            // Videos with a moment in common are not the same.
            float[] embedding = result.atMs() < 0 ? index.embedding(result.path()) : new float[index.dim()];
            for (int stack = 0; stack < embeddings.size(); stack++) {
                if (Vectors.cosine(embeddings.get(stack), embedding) >= threshold) {
                    results.get(stack).copies().add(result.path());
                    return;
                }
            }
            if (results.size() < most) {
                embeddings.add(embedding);
            }
        }
        if (results.size() < most) {
            results.add(new SearchEngine.Result(
                result.path(), result.score(), new ArrayList<>(), result.atMs(), result.moments(),
                result.matched()));
        }
    }
}
