package io.github.mcadmobile.runner;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.Memory;
import java.util.ArrayList;
import java.util.List;

/** Records memory in MiB at each step, in order, and announces each step on standard error. */
final class Steps {
    final List<Object> taken = new ArrayList<>();

    void take(String name) throws McadException {
        Memory now = Memory.now();
        taken.add(JsonFields.of("step", name, "pss", now.pss(), "rss", now.rss()));
        announce(name);
    }

    static void announce(String name) {
        System.err.println("step: " + name);
    }
}
