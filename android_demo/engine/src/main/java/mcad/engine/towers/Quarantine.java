package mcad.engine.towers;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import mcad.engine.base.Fsync;
import mcad.engine.base.JsonFields;

/**
 * Rungs over which the process died: an NPU's driver that aborts is nothing that can be caught. Which rung is being
 * loaded, tested or used for the first time is noted in a file, and a note that is found when the process starts tells
 * of such a death. The rung is left out from then on, until the app or the phone's firmware is another one, or the user
 * wants it tried again.
 *
 * <p>One object for a directory in a process: the notes of its own rungs are no deaths.
 */
public final class Quarantine {
    /** Notes nothing and leaves nothing out. */
    public static final Quarantine NONE = new Quarantine(null, "");

    private static final String LIST = "rungs.json";
    private static final String[] TOWERS = {"image", "text"};

    private final Path directory;
    private final String environment;
    private final TreeSet<String> died = new TreeSet<>();

    private Quarantine(Path directory, String environment) {
        this.directory = directory;
        this.environment = environment;
    }

    /**
     * What is known in {@code directory}, which is made.
     *
     * @param environment says what a death holds for: the version of the app, of the bundle and of the firmware
     */
    public static Quarantine open(Path directory, String environment) throws IOException {
        Files.createDirectories(directory);
        Quarantine quarantine = new Quarantine(directory, environment);
        JsonFields known = quarantine.read(LIST);
        if (known != null) {
            quarantine.died.addAll(known.list("died", String.class));
        }
        boolean more = false;
        for (String tower : TOWERS) {
            JsonFields note = quarantine.read(note(tower));
            more |= note != null && quarantine.died.add(note.string("rung"));
        }
        if (more) {
            quarantine.save(); // before the notes are gone: a death now must not hide the one before
        }
        for (String tower : TOWERS) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
        return quarantine;
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
            write(note(tower), JsonFields.of("environment", environment, "rung", name(tower, rung)));
        } catch (IOException noRoom) {
            // Without room for a note the rung is tried all the same.
        }
    }

    public synchronized void end(String tower) throws IOException {
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(note(tower)));
        }
    }

    /** Whether anything is left out. */
    public synchronized boolean isEmpty() {
        return died.isEmpty();
    }

    /** The user wants all rungs tried again. */
    public synchronized void clear() throws IOException {
        died.clear();
        if (directory != null) {
            Files.deleteIfExists(directory.resolve(LIST));
        }
    }

    private void save() throws IOException {
        List<String> names = new ArrayList<>(died);
        write(LIST + ".tmp", JsonFields.of("environment", environment, "died", names));
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
