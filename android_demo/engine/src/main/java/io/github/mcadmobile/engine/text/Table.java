package io.github.mcadmobile.engine.text;

import static io.github.mcadmobile.engine.McadException.EXPORT_AGAIN;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.IntBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The tokenizer's file: a JSON header, then memory-mapped arrays read in place, so that of 256,000 tokens a phone loads
 * only the pages that a query touches. The layout is in mcad_mobile/engine/text/table.py.
 */
final class Table {
    private static final byte[] MAGIC = "MCADTOK1".getBytes(StandardCharsets.US_ASCII);
    private static final int START = MAGIC.length + 4;

    final JsonFields header;
    private final Map<String, ByteBuffer> arrays = new HashMap<>();

    /** McadException if the file is missing or damaged. */
    Table(Path file) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            ByteBuffer data = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size()).order(
                ByteOrder.LITTLE_ENDIAN);
            header = header(data);
            int base = START + data.getInt(MAGIC.length);
            JsonFields places = header.object("arrays");
            for (String name : places.names()) {
                List<Object> place = places.list(name, Object.class);
                long first = base + (Long) place.get(1);
                long last = first + (Long) place.get(2) * width((String) place.get(0));
                if (last > data.capacity()) {
                    throw new EOFException("array " + name + " is cut off");
                }
                ByteBuffer part = data.duplicate();
                part.limit((int) last);
                part.position((int) first);
                arrays.put(name, part.slice());
            }
        } catch (NoSuchFileException error) {
            throw new McadException(file + " is missing.", EXPORT_AGAIN, error);
        } catch (IOException | RuntimeException error) {
            throw new McadException(
                file + " is not an mcad-mobile tokenizer: " + error.getMessage() + ".", EXPORT_AGAIN, error);
        }
    }

    private static JsonFields header(ByteBuffer data) throws IOException {
        for (int i = 0; i < MAGIC.length; i++) {
            if (data.capacity() < START || data.get(i) != MAGIC[i]) {
                throw new EOFException("it does not start with MCADTOK1");
            }
        }
        int size = data.getInt(MAGIC.length);
        if (size < 0 || START + (long) size > data.capacity()) {
            throw new EOFException("its header is cut off");
        }
        byte[] json = new byte[size];
        ByteBuffer from = data.duplicate();
        from.position(START);
        from.get(json);
        return JsonFields.parse(new String(json, StandardCharsets.UTF_8), "its header", EXPORT_AGAIN);
    }

    private static int width(String type) throws IOException {
        switch (type) {
            case "I":
                return 4;
            case "d":
                return 8;
            case "B":
                return 1;
            default:
                throw new EOFException("arrays have no type " + type);
        }
    }

    /** An array by name; empty if the file has no such array. */
    ByteBuffer bytes(String name) {
        ByteBuffer array = arrays.get(name);
        return (array == null ? ByteBuffer.allocate(0) : array.duplicate()).order(ByteOrder.LITTLE_ENDIAN);
    }

    IntBuffer ints(String name) {
        return bytes(name).asIntBuffer();
    }

    DoubleBuffer doubles(String name) {
        return bytes(name).asDoubleBuffer();
    }
}
