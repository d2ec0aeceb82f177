package io.github.mcadmobile.runner;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Tower;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** Looks up and loads rungs by their number in the ladder, 0 the best. */
final class Rungs {
    private Rungs() {}

    static Bundle.Rung of(Bundle bundle, String tower, int number) throws McadException {
        List<Bundle.Rung> rungs = bundle.tower(tower).rungs();
        if (number < 0 || number >= rungs.size()) {
            throw new McadException("There is no rung " + number + " of the " + tower + " tower; it has "
                + rungs.size() + ".", Main.SAME_RELEASE);
        }
        return rungs.get(number);
    }

    /** Load the spec's rung with the first provider that can. */
    static Tower load(Bundle bundle, String tower, JsonFields spec) throws McadException {
        int number = spec.object("rung").integer(tower, 0, Integer.MAX_VALUE);
        return load(bundle, of(bundle, tower, number), spec.integer("threads", 1, 1024));
    }

    /** McadException with every reason if no provider can load it. */
    static Tower load(Bundle bundle, Bundle.Rung rung, int threads) throws McadException {
        Ladder ladder = new Ladder(bundle, threads, Main.libraries());
        List<String> reasons = new ArrayList<>();
        for (Ladder.Step step : Ladder.steps(rung)) {
            try {
                return ladder.load(step);
            } catch (McadException error) {
                reasons.add(error.message + ": " + error.hint);
            }
        }
        if (reasons.isEmpty()) {
            reasons = Collections.singletonList("this runner has no runtime '" + rung.runtime() + "'");
        }
        throw new McadException(String.join("; ", reasons),
            "Measure another rung, or export the bundle again for this device.");
    }

    static Map<String, Object> summary(Bundle.Rung rung) {
        return JsonFields.of("runtime", rung.runtime(), "precision", rung.precision(), "bytes", rung.bytes());
    }
}
