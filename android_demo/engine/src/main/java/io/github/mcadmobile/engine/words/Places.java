package io.github.mcadmobile.engine.words;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.NativeLibrary;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** The place where a photo was taken: the nearest city, by a table as mcad_mobile/engine/words/places.py describes it. */
public final class Places {
    private final Path path;
    private final ByteBuffer table;

    /** Map a table. McadException if it cannot be read. */
    public Places(Path path) throws McadException {
        NativeLibrary.load();
        this.path = path;
        try (FileChannel file = FileChannel.open(path)) {
            table = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size());
        } catch (IOException error) {
            throw damaged(error.toString());
        }
    }

    /**
     * The names of the nearest city, of a larger one that reaches as far, and of their regions and countries, in English
     * and as people there write them; none if no city is near. McadException if the table is damaged.
     */
    public List<String> near(double latitude, double longitude) throws McadException {
        int[] spans = table.capacity() == 0 ? null : near(table, latitude, longitude, Math.cos(Math.toRadians(latitude)));
        if (spans == null) {
            throw damaged("a city or its region is missing");
        }
        Set<String> names = new LinkedHashSet<>();
        for (int i = 0; i < spans.length; i += 2) {
            byte[] line = new byte[spans[i + 1]];
            ByteBuffer at = table.duplicate();
            at.position(spans[i]);
            at.get(line);
            names.addAll(Arrays.asList(new String(line, StandardCharsets.UTF_8).split("\t")));
        }
        names.remove("");
        return new ArrayList<>(names);
    }

    /** Of each line of names, its start in a mapped table and its bytes; null if the table is damaged. */
    private static native int[] near(ByteBuffer table, double latitude, double longitude, double cosine);

    private McadException damaged(String why) {
        return new McadException(McadException.Kind.BUNDLE, "The table of places " + path + " is damaged: " + why + ".",
            McadException.EXPORT_AGAIN, null);
    }
}
