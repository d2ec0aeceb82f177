package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;

/**
 * Paths as stored in the index: the bytes of a file name. Bytes that are not UTF-8 become the characters U+DC80 to
 * U+DCFF of a String, as with Python's `surrogateescape`, and convert back unchanged.
 */
final class PathBytes {
    static final int LONGEST = 65535;
    private static final char ESCAPE = '\udc00';
    private static final char REPLACED = '\ufffd';

    private PathBytes() {}

    /** McadException if a path is empty, too long, or holds a lone surrogate. */
    static byte[] of(String path) throws McadException {
        boolean isPlain = true;
        for (int i = 0; i < path.length(); i++) {
            isPlain &= !Character.isSurrogate(path.charAt(i));
        }
        byte[] raw = isPlain ? path.getBytes(StandardCharsets.UTF_8) : unescaped(path);
        if (raw.length == 0 || raw.length > LONGEST) {
            throw new McadException("A photo has a path of " + raw.length + " bytes.",
                "Give each photo a path of 1 to " + LONGEST + " bytes.");
        }
        return raw;
    }

    private static byte[] unescaped(String path) throws McadException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        for (int c : path.codePoints().toArray()) {
            if (c >= ESCAPE + 0x80 && c <= ESCAPE + 0xff) {
                out.write(c - ESCAPE);
            } else if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
                throw new McadException("The path '" + path + "' has half a surrogate pair.", "Rename the file.");
            } else {
                byte[] encoded = new String(Character.toChars(c)).getBytes(StandardCharsets.UTF_8);
                out.write(encoded, 0, encoded.length);
            }
        }
        return out.toByteArray();
    }

    static String toString(byte[] path) {
        String text = new String(path, StandardCharsets.UTF_8);
        return text.indexOf(REPLACED) < 0 ? text : escaped(path);
    }

    static List<String> toStrings(byte[][] paths) {
        return Arrays.stream(paths).map(PathBytes::toString).collect(Collectors.toList());
    }

    private static String escaped(byte[] path) {
        CharsetDecoder decoder = StandardCharsets.UTF_8.newDecoder(); // reports errors
        ByteBuffer in = ByteBuffer.wrap(path);
        CharBuffer out = CharBuffer.allocate(2 * path.length);
        CoderResult result = decoder.decode(in, out, true);
        for (; result.isError(); result = decoder.decode(in, out, true)) {
            for (int i = 0; i < result.length(); i++) {
                out.put((char) (ESCAPE + (in.get() & 0xff)));
            }
        }
        return new String(out.array(), 0, out.position());
    }

    /** Compares unsigned bytes; a prefix sorts first. */
    static int compare(byte[] a, byte[] b) {
        for (int at = 0; at < Math.min(a.length, b.length); at++) {
            if (a[at] != b[at]) {
                return (a[at] & 0xff) - (b[at] & 0xff);
            }
        }
        return a.length - b.length;
    }

    /** As above, for text; seldom needs to encode it. */
    static int compare(String a, String b) {
        for (int i = 0; i < Math.min(a.length(), b.length()); i++) {
            char first = a.charAt(i);
            char second = b.charAt(i);
            if (first == second) {
                continue;
            }
            if (Character.isSurrogate(first) || Character.isSurrogate(second)) {
                try {
                    return compare(of(a), of(b));
                } catch (McadException unfit) {
                    return first - second; // no index holds it
                }
            }
            return first - second; // UTF-8 keeps the order of code points
        }
        return a.length() - b.length();
    }
}
