package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.base.Processes;
import io.github.mcadmobile.engine.towers.Quarantine;
import java.nio.file.Path;
import java.util.Locale;
import java.util.concurrent.ThreadFactory;

/** The phone that an app runs on. */
public interface Device extends Processes {
    /** The folder of bundle and index; exclude it from backups. Called when something is first read. */
    Path directory();

    /** The app's version and the phone's firmware: see {@link Quarantine}. */
    String environment();

    /** The phone's chip, as {@code Build.SOC_MODEL} names it: an NPU's binary runs on one chip. Empty if unknown. */
    default String chip() {
        return "";
    }

    /** The language of queries, such as "de": English takes the first text tower of a bundle that has two. */
    default String language() {
        return Locale.getDefault().getLanguage();
    }

    /** In ms since 1970. */
    default long nowMs() {
        return System.currentTimeMillis();
    }

    /** See {@link Conditions#heat}. */
    default int heat() {
        return 0;
    }

    /** After how many ms a decoder counts as hung; the largest photos take slow phones a few seconds. */
    default long decodingMs() {
        return 60_000;
    }

    /** Makes threads with the priority of the calling thread. */
    default ThreadFactory threads() {
        return task -> {
            Thread thread = new Thread(task, "decode");
            thread.setDaemon(true);
            return thread;
        };
    }
}
