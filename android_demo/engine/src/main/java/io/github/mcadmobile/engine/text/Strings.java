package io.github.mcadmobile.engine.text;

import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.zip.CRC32;

/** Maps strings to numbers: a memory-mapped hash table with CRC-32 and open addressing. */
final class Strings {
    private final ByteBuffer bytes;
    private final IntBuffer ends;
    private final IntBuffer slots;

    Strings(Table table) {
        bytes = table.bytes("string_bytes");
        ends = table.ints("string_ends");
        slots = table.ints("string_slots");
    }

    /** The number of the string whose UTF-8 is {@code key[from, to)}, or -1. */
    int find(byte[] key, int from, int to) {
        int mask = slots.capacity() - 1;
        CRC32 hash = new CRC32();
        hash.update(key, from, to - from);
        int at = (int) hash.getValue() & mask;
        int left = slots.capacity(); // a damaged table may have no free slot
        for (int number = slots.get(at); number != 0 && left-- > 0; number = slots.get(at)) {
            int start = ends.get(number - 1);
            if (ends.get(number) - start == to - from && same(key, from, to, start)) {
                return number - 1;
            }
            at = at + 1 & mask;
        }
        return -1;
    }

    private boolean same(byte[] key, int from, int to, int start) {
        for (int i = from; i < to; i++) {
            if (key[i] != bytes.get(start + i - from)) {
                return false;
            }
        }
        return true;
    }
}
