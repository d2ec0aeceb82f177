package io.github.mcadmobile.engine.words;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;

/** The place where a photo was taken: the nearest city, by a table as mcad_mobile/engine/words/places.py describes it. */
public final class Places {
    private static final long MAGIC = 0x31434c504441434dL; // MCADPLC1
    private static final int HEAD = 16;
    private static final int LINES = 16;
    private static final int STEPS = 1 << 16;
    private static final double REACH_KM = 0.25;
    private static final double FAR_KM = 50;
    private static final double KM_A_STEP = Math.PI * 6371.0 / STEPS;
    private static final int WINDOW = (int) (63.75 / KM_A_STEP) + 1;

    private final Path path;
    private final ByteBuffer table;
    private final int cities;
    private final int starts;
    private final int latitudes;
    private final int textAt;

    /** Map a table. McadException if it is missing, or no such table. */
    public Places(Path path) throws McadException {
        this.path = path;
        try (FileChannel file = FileChannel.open(path)) {
            table = file.map(FileChannel.MapMode.READ_ONLY, 0, file.size()).order(ByteOrder.LITTLE_ENDIAN);
        } catch (IOException | IllegalArgumentException error) { // the latter for more than 2 GB
            throw damaged(error.toString());
        }
        if (table.limit() < HEAD || table.getLong(0) != MAGIC) {
            throw damaged("its first bytes are not those of a table of places");
        }
        long all = number(8);
        long count = (all + number(12) + LINES - 1) / LINES + 1;
        if (HEAD + 4 * count + 7 * all > table.limit()) {
            throw damaged("it ends too early");
        }
        cities = (int) all;
        starts = (int) count;
        latitudes = HEAD + 4 * starts;
        textAt = latitudes + 7 * cities;
        if (textAt + number(latitudes - 4) != table.limit()) {
            throw damaged("it does not end with its text");
        }
    }

    /**
     * The names of the nearest city, of a larger one that reaches as far, and of their regions and countries, in English
     * and as people there write them; none if no city is near. McadException if the table is damaged.
     */
    public List<String> near(double latitude, double longitude) throws McadException {
        double north = (latitude + 90) / 180 * STEPS;
        double east = (longitude + 180) / 360 * STEPS;
        double scale = 2 * Math.cos(Math.toRadians(latitude));
        int nearest = -1;
        int largest = -1;
        double least = Double.MAX_VALUE;
        int until = Math.max(0, Math.min(STEPS - 1, (int) (north + WINDOW)));
        for (int city = first(Math.max(0, (int) (north - WINDOW))); city < cities && step(0, city) < until; city++) {
            double along = Math.abs(step(1, city) - east);
            double x = Math.min(along, STEPS - along) * scale;
            double km = Math.hypot(x, step(0, city) - north) * KM_A_STEP;
            if (km < least) {
                least = km;
                nearest = city;
            }
            if (km <= reach(city) * REACH_KM && reach(city) > (largest < 0 ? 0 : reach(largest))) {
                largest = city;
            }
        }
        Set<String> names = new LinkedHashSet<>();
        if (least <= FAR_KM) {
            for (int city : new int[] {nearest, largest < 0 ? nearest : largest}) {
                names.addAll(line(city));
                names.addAll(line((long) cities + step(2, city)));
            }
        }
        names.remove("");
        return new ArrayList<>(names);
    }

    /** The first city whose latitude is not below a step. */
    private int first(int step) {
        int low = 0;
        int high = cities;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (step(0, middle) < step) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    /** A city's latitude, longitude or region. */
    private int step(int column, int city) {
        return table.getShort(latitudes + 2 * (column * cities + city)) & 0xffff;
    }

    private int reach(int city) {
        return table.get(latitudes + 6 * cities + city) & 0xff;
    }

    private List<String> line(long number) throws McadException {
        int block = (int) (number / LINES);
        long start = block + 1 < starts ? number(HEAD + 4 * block) : -1;
        long end = start < 0 ? 0 : number(HEAD + 4 * block + 4);
        if (start < 0 || start > end || end > table.limit() - textAt) {
            throw damaged("a city is of no region");
        }
        byte[] text = new byte[(int) (end - start)];
        ByteBuffer at = table.duplicate();
        at.position(textAt + (int) start);
        at.get(text);
        String[] lines = new String(text, StandardCharsets.UTF_8).split("\n", -1);
        if (number % LINES >= lines.length) {
            throw damaged("a name is missing");
        }
        return List.of(lines[(int) (number % LINES)].split("\t"));
    }

    private long number(int at) {
        return table.getInt(at) & 0xffffffffL;
    }

    private McadException damaged(String why) {
        return new McadException(McadException.Kind.BUNDLE, "The table of places " + path + " is damaged: " + why + ".",
            McadException.EXPORT_AGAIN, null);
    }
}
