package mcad.gallery;

import java.nio.file.Path;
import java.util.concurrent.ThreadFactory;
import mcad.engine.base.Processes;
import mcad.engine.towers.Quarantine;

/** The phone that an app runs on. */
public interface Device extends Processes {
    /** Where bundle and index are kept; no backup should have it. Asked for when something is first read. */
    Path directory();

    /** The app's version and the phone's firmware: see {@link Quarantine}. */
    String environment();

    /** In ms since 1970. */
    default long nowMs() {
        return System.currentTimeMillis();
    }

    /** See {@link Conditions#heat}. */
    default int heat() {
        return 0;
    }

    /** After so many ms a decoder hangs: the largest photos of slow phones take a few seconds. */
    default long decodingMs() {
        return 60_000;
    }

    /** Makes threads that have the priority of the calling one. */
    default ThreadFactory threads() {
        return task -> {
            Thread thread = new Thread(task, "decode");
            thread.setDaemon(true);
            return thread;
        };
    }
}
