package io.github.mcadmobile.runner;

import ai.onnxruntime.OrtEnvironment;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.text.Tokenizer;
import io.github.mcadmobile.engine.towers.Tower;
import java.io.IOException;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Mode search: measures the memory that a search needs, and nothing else; then each stage of many searches. */
final class Search {
    private static final String[] STAGES = {"tokenize", "text", "scan", "rescore", "total"};

    private final JsonFields spec;

    Search(JsonFields spec) {
        this.spec = spec;
    }

    Map<String, Object> run() throws IOException {
        Steps steps = new Steps();
        steps.take("process start");
        OrtEnvironment.getEnvironment();
        steps.take("runtime loaded");
        Bundle bundle = Bundle.load(Paths.get(spec.string("bundle")), false);
        Tokenizer tokenizer = Tokenizer.of(bundle);
        Tower tower = Rungs.load(bundle, "text", spec);
        steps.take("text tower loaded");
        List<String> queries = spec.list("queries", String.class);
        if (queries.isEmpty()) {
            throw spec.wrong("queries", "at least one");
        }
        int warmUp = spec.integer("memory_searches", 0, Integer.MAX_VALUE);
        int searches = spec.integer("searches", 1, Integer.MAX_VALUE);
        int k = spec.integer("k", 1, Integer.MAX_VALUE);
        Map<String, List<Object>> samples = new LinkedHashMap<>();
        for (String stage : STAGES) {
            samples.put(stage, new ArrayList<>());
        }
        try (PhotoIndex index = PhotoIndex.open(Paths.get(spec.string("index")))) {
            steps.take("index opened");
            for (int i = 0; i < warmUp; i++) {
                SearchEngine.search(tokenizer, tower, index, queries.get(i % queries.size()), k);
            }
            steps.take("after " + warmUp + " searches");
            Steps.announce("timing");
            for (int i = 0; i < searches; i++) {
                String query = queries.get((warmUp + i) % queries.size());
                Map<String, Double> ms = SearchEngine.search(tokenizer, tower, index, query, k).ms();
                for (String stage : STAGES) {
                    samples.get(stage).add(ms.get(stage));
                }
            }
            return JsonFields.of("photos", index.photos(), "bytes_per_photo", index.bytesPerPhoto(), "rung",
                Rungs.summary(tower.rung), "provider", tower.provider.toString(), "steps", steps.taken, "samples_ms",
                samples);
        }
    }
}
