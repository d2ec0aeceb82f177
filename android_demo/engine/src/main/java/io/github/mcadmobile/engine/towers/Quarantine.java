package io.github.mcadmobile.engine.towers;

import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.Processes;
import io.github.mcadmobile.engine.towers.Ladder.Reason;
import io.github.mcadmobile.engine.towers.Ladder.Skipped;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.jspecify.annotations.Nullable;

/**
 * Rungs that crashed the process: an abort in an NPU's driver cannot be caught. The rung being loaded, tested or first
 * used is noted in a file, and a note found at the start of a process means that the last one crashed, unless the user
 * or the system ended it. If the cause is unknown, only the second such death in a row counts. The rung is then skipped
 * until the app or the firmware changes, or the user asks to try it again; so is one that an NPU refused.
 *
 * <p>Open one object per directory and process, which would otherwise take its own notes for crashes.
 */
public final class Quarantine {
    /** Notes nothing and skips nothing. */
    public static final Quarantine NONE = new Quarantine(null, "", Processes.UNTOLD);

    private static final String LIST = "rungs.json";
    private static final String[] TOWERS = {"image", "text", "multilingual", "detector", "recognizer"};

    private final Path directory;
    private final String environment;
    private final Processes processes;
    private final TreeSet<String> died = new TreeSet<>();
    /** Rungs during which a process ended once for an unknown reason. */
    private final TreeSet<String> suspects = new TreeSet<>();
    /** By rung, the name of a {@link Ladder.Reason} and its detail. */
    private final TreeMap<String, List<String>> refused = new TreeMap<>();

    private Quarantine(Path directory, String environment, Processes processes) {
        this.directory = directory;
        this.environment = environment;
        this.processes = processes;
    }

    /**
     * Read the quarantine in {@code directory}, creating it if needed.
     *
     * @param environment what a crash applies to: the versions of app, bundle and firmware
     */
    public static Quarantine open(Path directory, String environment, Processes processes) throws IOException {
        Files.createDirectories(directory);
        Quarantine quarantine = new Quarantine(directory, environment, processes);
        JsonFields known = quarantine.read(LIST);
        if (known != null) {
            quarantine.died.addAll(known.list("died", String.class));
            quarantine.suspects.addAll(known.list("suspects", String.class));
            for (String rung : known.has("refused") ? known.object("refused").names() : Set.<String>of()) {
                quarantine.refused.put(rung, known.object("refused").list(rung, String.class));
            }
        }
        boolean more = false;
        for (String tower : TOWERS) {
            JsonFields note = quarantine.read(note(tower));
            more |= note != null && quarantine.blame(note);
        }
        if (more) {
            quarantine.save(); // before deleting the notes: a crash now must not lose them
        }
        for (String tower : TOWERS) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
        return quarantine;
    }

    /** Record a note's death; true if that changes the list. */
    private boolean blame(JsonFields note) throws IOException {
        String rung = note.string("rung");
        return switch (processes.end(note.integer("process", 0, Integer.MAX_VALUE))) {
            case FAULT -> died.add(rung);
            case OTHER -> false;
            case UNKNOWN -> suspects.add(rung) || died.add(rung);
        };
    }

    /** Why a rung is to be skipped; null if it is not. */
    synchronized @Nullable Skipped why(String tower, String rung) {
        if (died.contains(name(tower, rung))) {
            return new Skipped(rung, Reason.DIED, "the app died over it", true);
        }
        List<String> known = refused.get(name(tower, rung));
        return known == null ? null : new Skipped(rung, Reason.valueOf(known.get(0)), known.get(1), true);
    }

    synchronized void refuse(String tower, Skipped skipped) throws IOException {
        if (directory != null) {
            refused.put(name(tower, skipped.step()), List.of(skipped.reason().name(), skipped.detail()));
            save();
        }
    }

    /** Until {@link #end}, a death of the process counts against this rung. */
    public synchronized void begin(String tower, String rung) {
        if (directory == null) {
            return;
        }
        try {
            write(note(tower), JsonFields.of(
                "environment", environment, "rung", name(tower, rung), "process", processes.current()));
        } catch (IOException noRoom) {
            // If the note cannot be written, the rung is tried anyway.
        }
    }

    public synchronized void end(String tower) throws IOException {
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
    }

    /** The rung was loaded, tested and used: it did not cause the earlier death. */
    public synchronized void trust(String tower, String rung) throws IOException {
        if (suspects.remove(name(tower, rung))) {
            save();
        }
    }

    /** Empty the quarantine: all rungs are tried again. */
    public synchronized void clear() throws IOException {
        died.clear();
        suspects.clear();
        refused.clear();
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(LIST));
        }
    }

    private void save() throws IOException {
        write(LIST, JsonFields.of("environment", environment, "died", new ArrayList<Object>(died), "suspects",
            new ArrayList<Object>(suspects), "refused", refused));
    }

    /** A driver may crash the whole phone, so the note must reach the disk. */
    private void write(String name, Map<String, Object> document) throws IOException {
        AtomicFile.write(directory.resolve(name), JsonFields.write(document).getBytes(StandardCharsets.UTF_8));
    }

    /** A file's fields; null if it is missing, torn or from another environment. */
    private JsonFields read(String name) {
        try {
            byte[] raw = Files.readAllBytes(directory.resolve(name));
            JsonFields fields = JsonFields.parse(new String(raw, StandardCharsets.UTF_8), name);
            return fields.string("environment").equals(environment) ? fields : null;
        } catch (IOException missingOrTorn) {
            return null;
        }
    }

    private static String note(String tower) {
        return "trying-" + tower + ".json";
    }

    private static String name(String tower, String rung) {
        return tower + " " + rung;
    }
}
