package io.github.mcadmobile.engine.text;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.function.UnaryOperator;

/**
 * SentencePiece's replacement table. SentencePiece ("longest") replaces the longest key at each character. Hugging
 * Face's library ("clusters") replaces a grapheme cluster of fewer than 6 bytes by the value of the shortest key at its
 * start, or else looks up each character.
 */
final class Charsmap implements UnaryOperator<String> {
    private final boolean longest;
    private final IntBuffer trie;
    private final ByteBuffer values;

    Charsmap(Table table, String way) {
        if (!way.equals("longest") && !way.equals("clusters")) {
            throw new IllegalArgumentException("charsmap by " + way);
        }
        longest = way.equals("longest");
        trie = table.ints("charsmap_trie");
        values = table.bytes("charsmap_text");
    }

    @Override
    public String apply(String text) {
        byte[] data = text.getBytes(StandardCharsets.UTF_8);
        ByteArrayOutputStream out = new ByteArrayOutputStream(data.length);
        if (longest) {
            for (int at = 0; at < data.length;) {
                at += write(data, at, data.length, characterSize(data, at), true, out);
            }
        } else {
            clusters(text, out);
        }
        return new String(out.toByteArray(), StandardCharsets.UTF_8);
    }

    private void clusters(String text, ByteArrayOutputStream out) {
        int[] codes = text.codePoints().toArray();
        int start = 0;
        for (int i = 1; i <= codes.length; i++) {
            if (i < codes.length && joins(codes[i - 1], codes[i])) {
                continue;
            }
            byte[] cluster = new String(codes, start, i - start).getBytes(StandardCharsets.UTF_8);
            if (cluster.length >= 6 || write(cluster, 0, cluster.length, 0, false, out) == 0) {
                for (int at = 0; at < cluster.length;) {
                    int size = characterSize(cluster, at);
                    if (write(cluster, at, at + size, size, false, out) == 0) {
                        out.write(cluster, at, size);
                    }
                    at += size;
                }
            }
            start = i;
        }
    }

    /**
     * Writes the replacement of the key at {@code from} and returns the key's bytes. Without a key: if {@code copy},
     * copies {@code otherwise} bytes and returns their number, else returns 0.
     */
    private int write(byte[] data, int from, int to, int otherwise, boolean copy, ByteArrayOutputStream out) {
        int node = offset(trie.get(0));
        int size = 0;
        int value = -1;
        for (int i = from; i < to && data[i] != 0 && (longest || value < 0); i++) {
            int b = data[i] & 0xff;
            node ^= b;
            int unit = trie.get(node);
            if ((unit & 0x800000FF) != b) {
                break;
            }
            node ^= offset(unit);
            if ((unit >> 8 & 1) != 0) {
                size = i + 1 - from;
                value = trie.get(node) & 0x7FFFFFFF;
            }
        }
        if (value < 0) {
            if (copy) {
                out.write(data, from, otherwise);
                return otherwise;
            }
            return 0;
        }
        for (int i = value; i < values.capacity() && values.get(i) != 0; i++) {
            out.write(values.get(i));
        }
        return size;
    }

    private static int offset(int unit) {
        return unit >>> 10 << (unit >>> 6 & 8);
    }

    private static int characterSize(byte[] data, int at) {
        int end = at + 1;
        while (end < data.length && (data[end] & 0xC0) == 0x80) {
            end++;
        }
        return end - at;
    }

    /** Whether two characters belong to one grapheme cluster, as far as clusters under 6 bytes go. */
    private static boolean joins(int before, int c) {
        if (before == '\r' && c == '\n') {
            return true;
        }
        if (!Characters.isExtending(c)) {
            return false;
        }
        int type = Character.getType(before);
        boolean alone = type == Character.CONTROL || type == Character.FORMAT || type == Character.LINE_SEPARATOR
            || type == Character.PARAGRAPH_SEPARATOR;
        return !alone || before == 0x200C || before == 0x200D;
    }
}
