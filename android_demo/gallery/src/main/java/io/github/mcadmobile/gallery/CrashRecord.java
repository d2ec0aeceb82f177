package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.Processes;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Photos whose decoding killed the process: it ran out of memory, or a native decoder crashed, which no handler
 * catches. The photo being decoded is noted in a file; a note found at the start of a run means that the process died,
 * unless the user or the system ended it. After the first death the photo is tried last, since the phone may have been
 * switched off; after the second it is skipped until its file changes.
 */
final class CrashRecord {
    private static final int MOST_DEATHS = 2;
    private static final String LIST = "crashes.json";
    private static final String NOTE = "decoding.json";

    /** A state of a photo's file. */
    private record File(String path, long modifiedMs, long bytes, String kind) {
        static File of(PhotoLibrary.Item item) {
            return new File(item.path(), item.modifiedMs(), item.bytes(), item.kind());
        }
    }

    private final Path directory;
    private final Processes processes;
    private final Map<File, Integer> deaths = new HashMap<>();

    private CrashRecord(Path directory, Processes processes) {
        this.directory = directory;
        this.processes = processes;
    }

    /** Read the record in {@code directory} and drop photos that are no longer {@code seen}. */
    static CrashRecord open(Path directory, Collection<PhotoLibrary.Item> seen, Processes processes)
            throws IOException {
        CrashRecord crashes = new CrashRecord(directory, processes);
        try {
            for (JsonFields photo : crashes.read(LIST).objects("photos")) {
                crashes.deaths.put(file(photo), photo.integer("deaths", 1, MOST_DEATHS));
            }
        } catch (IOException missingOrTorn) {
            crashes.deaths.clear();
        }
        try {
            JsonFields note = crashes.read(NOTE);
            if (processes.end(note.integer("process", 0, Integer.MAX_VALUE)) != Processes.End.OTHER) {
                crashes.deaths.merge(file(note), 1, Integer::sum);
            }
        } catch (IOException missingOrTorn) {
            return crashes;
        }
        Set<File> still = new HashSet<>();
        for (PhotoLibrary.Item item : seen) {
            File file = File.of(item);
            if (crashes.deaths.containsKey(file)) {
                still.add(file);
            }
        }
        crashes.deaths.keySet().retainAll(still);
        crashes.write();
        crashes.decoded();
        return crashes;
    }

    /** Copy the record to an index that does not exist yet: crashes do not depend on the student. */
    static void inherit(Path from, Path to) throws IOException {
        if (Files.isRegularFile(from.resolve(LIST)) && !Files.exists(to)) {
            Files.createDirectories(to);
            Files.copy(from.resolve(LIST), to.resolve(LIST));
        }
    }

    /** Delete the record in {@code directory}, which holds paths of photos. */
    static void delete(Path directory) throws IOException {
        Files.deleteIfExists(directory.resolve(LIST));
        Files.deleteIfExists(directory.resolve(NOTE));
    }

    int deaths(PhotoLibrary.Item item) {
        Integer count = deaths.get(File.of(item));
        return count == null ? 0 : count;
    }

    boolean isExcluded(PhotoLibrary.Item item) {
        return deaths(item) >= MOST_DEATHS;
    }

    /** Until {@link #decoded}, a death of the process counts against this photo. */
    void decoding(PhotoLibrary.Item item) throws IOException {
        Map<String, Object> note = fields(File.of(item));
        note.put("process", processes.current());
        Path file = directory.resolve(NOTE);
        try {
            Files.write(file, bytes(note)); // not flushed: there is one per photo, and a torn one counts as none
        } catch (IOException error) {
            throw AtomicFile.notWritten(file, error);
        }
    }

    void decoded() throws IOException {
        Files.deleteIfExists(directory.resolve(NOTE));
    }

    /** Its decoder hung: skip the photo, since a second try would hang too. */
    void hung(PhotoLibrary.Item item) throws IOException {
        deaths.put(File.of(item), MOST_DEATHS);
        write();
    }

    private void write() throws IOException {
        List<Object> photos = new ArrayList<>();
        for (Map.Entry<File, Integer> crash : deaths.entrySet()) {
            Map<String, Object> fields = fields(crash.getKey());
            fields.put("deaths", Math.min(crash.getValue(), MOST_DEATHS));
            photos.add(fields);
        }
        AtomicFile.write(directory.resolve(LIST), bytes(JsonFields.of("photos", photos)));
    }

    private JsonFields read(String name) throws IOException {
        byte[] raw = Files.readAllBytes(directory.resolve(name));
        return JsonFields.parse(new String(raw, StandardCharsets.UTF_8), name);
    }

    private static byte[] bytes(Map<String, Object> fields) {
        return JsonFields.write(fields).getBytes(StandardCharsets.UTF_8);
    }

    private static Map<String, Object> fields(File file) {
        return JsonFields.of("path", file.path(), "modified_ms", file.modifiedMs(), "bytes", file.bytes(),
            "kind", file.kind());
    }

    private static File file(JsonFields fields) throws McadException {
        return new File(fields.string("path"), fields.integer("modified_ms"), fields.integer("bytes"),
            fields.string("kind"));
    }
}
