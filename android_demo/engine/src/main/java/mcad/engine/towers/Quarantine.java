package mcad.engine.towers;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Map;
import java.util.TreeSet;
import mcad.engine.base.Fsync;
import mcad.engine.base.JsonFields;
import mcad.engine.base.Processes;

/**
 * Rungs over which the process died: an NPU's driver that aborts is nothing that can be caught. Which rung is being
 * loaded, tested or used for the first time is noted in a file, and a note that is found when the process starts tells
 * of such a death, unless the user or the system ended the process. Where nobody knows, a second such death in a row
 * counts. The rung is left out from then on, until the app or the phone's firmware is another one, or the user wants it
 * tried again.
 *
 * <p>One object for a directory in a process: the notes of its own rungs are no deaths.
 */
public final class Quarantine {
    /** Notes nothing and leaves nothing out. */
    public static final Quarantine NONE = new Quarantine(null, "", Processes.UNTOLD);

    private static final String LIST = "rungs.json";
    private static final String[] TOWERS = {"image", "text"};

    private final Path directory;
    private final String environment;
    private final Processes processes;
    private final TreeSet<String> died = new TreeSet<>();
    /** Over which a process ended once, nobody knows why. */
    private final TreeSet<String> suspects = new TreeSet<>();

    private Quarantine(Path directory, String environment, Processes processes) {
        this.directory = directory;
        this.environment = environment;
        this.processes = processes;
    }

    /**
     * What is known in {@code directory}, which is made.
     *
     * @param environment says what a death holds for: the version of the app, of the bundle and of the firmware
     */
    public static Quarantine open(Path directory, String environment, Processes processes) throws IOException {
        Files.createDirectories(directory);
        Quarantine quarantine = new Quarantine(directory, environment, processes);
        JsonFields known = quarantine.read(LIST);
        if (known != null) {
            quarantine.died.addAll(known.list("died", String.class));
            quarantine.suspects.addAll(known.list("suspects", String.class));
        }
        boolean more = false;
        for (String tower : TOWERS) {
            JsonFields note = quarantine.read(note(tower));
            more |= note != null && quarantine.blame(note);
        }
        if (more) {
            quarantine.save(); // before the notes are gone: a death now must not hide the one before
        }
        for (String tower : TOWERS) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
        return quarantine;
    }

    /** Whether a note changes what is known. */
    private boolean blame(JsonFields note) throws IOException {
        String rung = note.string("rung");
        return switch (processes.end(note.integer("process", 0, Integer.MAX_VALUE))) {
            case FAULT -> died.add(rung);
            case OTHER -> false;
            case UNKNOWN -> suspects.add(rung) || died.add(rung);
        };
    }

    /** Whether the process died over a rung. */
    public synchronized boolean holds(String tower, String rung) {
        return died.contains(name(tower, rung));
    }

    /** From here to {@link #end}, a death of the process is this rung's. */
    public synchronized void begin(String tower, String rung) {
        if (directory == null) {
            return;
        }
        try {
            write(note(tower), JsonFields.of(
                "environment", environment, "rung", name(tower, rung), "process", processes.current()));
        } catch (IOException noRoom) {
            // Without room for a note the rung is tried all the same.
        }
    }

    public synchronized void end(String tower) throws IOException {
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
    }

    /** It was loaded, tested and used: an earlier death was another's. */
    public synchronized void trust(String tower, String rung) throws IOException {
        if (suspects.remove(name(tower, rung))) {
            save();
        }
    }

    /** The user wants all rungs tried again. */
    public synchronized void clear() throws IOException {
        died.clear();
        suspects.clear();
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(LIST));
        }
    }

    private void save() throws IOException {
        write(LIST + ".tmp", JsonFields.of("environment", environment, "died", new ArrayList<Object>(died), "suspects",
            new ArrayList<Object>(suspects)));
        Files.move(directory.resolve(LIST + ".tmp"), directory.resolve(LIST), StandardCopyOption.ATOMIC_MOVE);
        Fsync.directory(directory);
    }

    /** A driver may take the whole phone with it: what is noted must be on the disk. */
    private void write(String name, Map<String, Object> document) throws IOException {
        Path file = directory.resolve(name);
        Files.write(file, JsonFields.write(document).getBytes(StandardCharsets.UTF_8));
        Fsync.file(file);
        Fsync.directory(directory);
    }

    /** A file of this environment; null where there is none, or it is torn, or another environment's. */
    private JsonFields read(String name) {
        try {
            byte[] raw = Files.readAllBytes(directory.resolve(name));
            JsonFields fields = JsonFields.parse(new String(raw, StandardCharsets.UTF_8), name, "");
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
