package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.CharsetDecoder;
import java.nio.charset.CoderResult;
import java.nio.charset.CodingErrorAction;
import java.nio.charset.StandardCharsets;

/**
 * Paths as stored in the index: the bytes of a file name. Bytes that are not UTF-8 become the characters U+DC80 to
 * U+DCFF of a String, as with Python's `surrogateescape`, and convert back unchanged.
 */
final class PathBytes {
    static final int LONGEST = 65535;
    private static final char ESCAPE = '\udc00';

    private PathBytes() {}

    /** McadException if a path is empty, too long, or holds a lone surrogate. */
    static byte[] of(String path) throws McadException {
        ByteArrayOutputStream out = new ByteArrayOutputStream(path.length() + 8);
        for (int i = 0; i < path.length(); ) {
            int c = path.codePointAt(i);
            i += Character.charCount(c);
            if (c < 0x80) {
                out.write(c);
            } else if (c >= ESCAPE + 0x80 && c <= ESCAPE + 0xff) {
                out.write(c - ESCAPE);
            } else if (c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE) {
                throw new McadException("The path '" + path + "' has half a surrogate pair.", "Rename the file.");
            } else {
                byte[] encoded = new String(Character.toChars(c)).getBytes(StandardCharsets.UTF_8);
                out.write(encoded, 0, encoded.length);
            }
        }
        if (out.size() == 0 || out.size() > LONGEST) {
            throw new McadException("A photo has a path of " + out.size() + " bytes.",
                "Give each photo a path of 1 to " + LONGEST + " bytes.");
        }
        return out.toByteArray();
    }

    static String toString(byte[] path) {
        CharsetDecoder decoder = StandardCharsets.UTF_8.newDecoder()
            .onMalformedInput(CodingErrorAction.REPORT).onUnmappableCharacter(CodingErrorAction.REPORT);
        try {
            return decoder.decode(ByteBuffer.wrap(path)).toString();
        } catch (CharacterCodingException notUtf8) {
            return escaped(path, decoder);
        }
    }

    private static String escaped(byte[] path, CharsetDecoder decoder) {
        ByteBuffer in = ByteBuffer.wrap(path);
        CharBuffer out = CharBuffer.allocate(2 * path.length);
        decoder.reset();
        while (true) {
            CoderResult result = decoder.decode(in, out, true);
            if (!result.isError()) {
                break;
            }
            for (int i = 0; i < result.length(); i++) {
                out.put((char) (ESCAPE + (in.get() & 0xff)));
            }
        }
        return new String(out.array(), 0, out.position());
    }

    /** Compares unsigned bytes; a prefix sorts first. */
    static int compare(byte[] a, byte[] b) {
        int shared = shared(a, b);
        if (shared < a.length && shared < b.length) {
            return (a[shared] & 0xff) - (b[shared] & 0xff);
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

    /** The length of the common prefix of two paths, in bytes. */
    static int shared(byte[] a, byte[] b) {
        int length = Math.min(a.length, b.length);
        int at = 0;
        while (at < length && a[at] == b[at]) {
            at++;
        }
        return at;
    }
}
