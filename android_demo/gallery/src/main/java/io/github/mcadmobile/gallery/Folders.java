package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.base.AtomicFile;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import java.util.TreeSet;

/**
 * The folders that the user chose to index and search: only these, or all but these.
 *
 * @param only true if only {@code names} are indexed, false if {@code names} are excluded
 */
public record Folders(boolean only, Set<String> names) {
    public static final Folders ALL = new Folders(false, Collections.emptySet());

    private static final String NAME = "folders.json";

    public boolean takes(String folder) {
        return names.contains(folder) == only;
    }

    boolean areAll() {
        return !only && names.isEmpty();
    }

    /** The saved choice; ALL if the file is missing or torn. */
    static Folders open(Path directory) {
        try {
            byte[] raw = Files.readAllBytes(directory.resolve(NAME));
            JsonFields fields = JsonFields.parse(new String(raw, StandardCharsets.UTF_8), NAME);
            return new Folders(fields.flag("only"), new HashSet<>(fields.list("names", String.class)));
        } catch (IOException missingOrTorn) {
            return ALL;
        }
    }

    void save(Path directory) throws IOException {
        Files.createDirectories(directory);
        String document = JsonFields.write(JsonFields.of("only", only, "names", new ArrayList<Object>(new TreeSet<>(names))));
        AtomicFile.write(directory.resolve(NAME), document.getBytes(StandardCharsets.UTF_8));
    }
}
