package io.github.mcadmobile.runner;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.text.Tokenizer;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Tower;
import java.io.IOException;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Mode check: runs each rung of each tower on the bundle's golden inputs. A failing rung does not stop the others. */
final class Check {
    private final JsonFields spec;
    private final Bundle bundle;

    Check(JsonFields spec) throws McadException {
        this.spec = spec;
        bundle = Bundle.load(Paths.get(spec.string("bundle")), false);
    }

    Map<String, Object> run() throws IOException {
        Map<String, Object> ladder = new LinkedHashMap<>();
        for (String tower : new String[] {"image", "text"}) {
            List<Object> rungs = new ArrayList<>();
            for (long number : spec.object("rungs").list(tower, Long.class)) {
                rungs.add(rung(tower, (int) number));
            }
            ladder.put(tower, rungs);
        }
        return JsonFields.of("ladder", ladder);
    }

    private Map<String, Object> rung(String name, int number) throws McadException {
        Bundle.Rung rung = Rungs.of(bundle, name, number);
        Steps.announce("checking " + name + " " + rung.runtime() + " " + rung.precision());
        Map<String, Object> report = JsonFields.of("rung", number, "runtime", rung.runtime(), "precision",
            rung.precision());
        try (Tower tower = Rungs.load(bundle, rung, spec.integer("threads", 1, 1024))) {
            List<Object> embeddings = new ArrayList<>();
            for (float[] embedding : Ladder.runGolden(bundle, name, tower)) {
                embeddings.add(listed(embedding));
            }
            report.put("loaded", true);
            report.put("provider", tower.provider.toString());
            report.put("nodes", nodes(tower));
            report.put("embeddings", embeddings);
            if (name.equals("text")) {
                report.put("tokens", tokens());
            }
        } catch (McadException error) {
            report.put("loaded", false);
            report.put("why", error.message);
        } catch (IOException | RuntimeException | Error error) {
            // A native library may fail; the next rung may run.
            report.put("loaded", false);
            report.put("why", "it fails on the golden inputs: " + error);
        }
        return report;
    }

    /** Nodes per processor: QNN leaves none to the CPU; XNNPACK runs on the CPU. */
    private static Object nodes(Tower tower) {
        int total = tower.rung.totalNodes();
        boolean npu = tower.provider == Tower.Provider.QNN;
        return JsonFields.of("npu", npu ? total : 0, "gpu", 0, "cpu", npu ? 0 : total);
    }

    private List<Object> tokens() throws IOException {
        Tokenizer tokenizer = Tokenizer.of(bundle);
        List<Object> all = new ArrayList<>();
        for (String text : bundle.text.golden().texts()) {
            List<Integer> ids = new ArrayList<>();
            for (int id : tokenizer.tokenize(text).ids()) {
                ids.add(id);
            }
            all.add(ids);
        }
        return all;
    }

    /** NaN and infinity, which a broken accelerator may give and JSON lacks, become null. */
    private static List<Object> listed(float[] values) {
        List<Object> list = new ArrayList<>();
        for (float value : values) {
            list.add(Float.isNaN(value) || Float.isInfinite(value) ? null : (Object) value);
        }
        return list;
    }
}
