import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.Exif;
import io.github.mcadmobile.engine.text.Tokenizer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.CRC32;

/**
 * Jazzer: bytes that others wrote, in the app's readers. The first byte names the reader. What is no McadException stops
 * the run. A folder, the property "readers", holds an index, a bundle and, at the end, the number of inputs by outcome.
 */
public final class Readers {
    private static final Path WORK = Path.of(System.getProperty("readers"));
    private static final String[] KINDS = {"photo", "manifest", "bundle", "tokenizer"};
    private static final String CRC = "{\"crc32\": \"";
    private static final Map<String, Integer> OUTCOMES = new TreeMap<>();

    private Readers() {}

    public static void fuzzerTearDown() throws IOException {
        StringBuilder counts = new StringBuilder();
        OUTCOMES.forEach((outcome, inputs) -> counts.append(", \"" + outcome + "\": " + inputs));
        Files.writeString(WORK.resolve("counts.json"), "{" + counts.substring(2) + "}");
    }

    public static void fuzzerTestOneInput(byte[] data) throws IOException {
        String kind = KINDS[data.length == 0 ? 0 : (data[0] & 0xff) % KINDS.length];
        byte[] bytes = data.length == 0 ? data : Arrays.copyOfRange(data, 1, data.length);
        String outcome = kind + ": read";
        try {
            read(kind, bytes);
        } catch (McadException refused) {
            outcome = kind + ": refused";
        }
        OUTCOMES.merge(outcome, 1, Integer::sum);
    }

    private static void read(String kind, byte[] bytes) throws IOException {
        Path index = WORK.resolve("index");
        Path bundle = WORK.resolve("bundle");
        switch (kind) {
            case "photo":
                Exif.isRead(new ByteArrayInputStream(bytes));
                int orientation = Exif.orientation(new ByteArrayInputStream(bytes));
                if (orientation < 1 || orientation > 8) {
                    throw new AssertionError(orientation);
                }
                Exif.coordinates(new ByteArrayInputStream(bytes));
                break;
            case "manifest":
                writeManifest(index, new String(bytes, StandardCharsets.UTF_8));
                search(index);
                break;
            case "bundle":
                byte[] before = Files.readAllBytes(bundle.resolve("bundle.json"));
                Files.write(bundle.resolve("bundle.json"), bytes);
                try {
                    Bundle.load(bundle, false).isEnglish();
                } finally {
                    Files.write(bundle.resolve("bundle.json"), before);
                }
                break;
            default:
                Bundle loaded = Bundle.load(bundle, false);
                Path file = loaded.path(loaded.tokenizer.file());
                byte[] table = Files.readAllBytes(file);
                Files.write(file, bytes);
                try (Tokenizer words = Tokenizer.of(loaded)) {
                    words.isEnglish();
                    words.inputs(words.tokenize("A dog's caf\u00e9, 2 \u6c99\u6ee9!"));
                } finally {
                    Files.write(file, table);
                }
        }
    }

    private static void search(Path index) throws IOException {
        try (PhotoIndex photos = PhotoIndex.open(index)) {
            float[] query = new float[photos.dim()];
            query[0] = 1;
            photos.search(query, 5);
            photos.search(query, 5, true);
            photos.membership();
        }
    }

    /** With its own checksum, which stands first. */
    private static void writeManifest(Path index, String text) throws IOException {
        byte[] raw = text.getBytes(StandardCharsets.UTF_8);
        if (raw.length >= CRC.length() + 8) {
            Arrays.fill(raw, CRC.length(), CRC.length() + 8, (byte) '0');
            byte[] digits = String.format("%08x", crc(raw, raw.length)).getBytes(StandardCharsets.US_ASCII);
            System.arraycopy(digits, 0, raw, CRC.length(), 8);
        }
        Files.write(index.resolve("manifest.json"), raw);
    }

    private static long crc(byte[] bytes, int length) {
        CRC32 crc = new CRC32();
        crc.update(bytes, 0, length);
        return crc.getValue();
    }
}
