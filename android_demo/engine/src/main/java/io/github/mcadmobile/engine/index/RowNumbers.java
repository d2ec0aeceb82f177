package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Maps the photos of an index to numbers under which a caller keeps its own data. Segments never change, so each is
 * read once, however many commits share it.
 */
public final class RowNumbers {
    /** The number of a photo by the key of its path, or -1. */
    public interface Numbering {
        int of(long key);
    }

    // FNV-1a of 64 bits (draft-eastlake-fnv).
    private static final long OFFSET = 0xcbf29ce484222325L;
    private static final long PRIME = 0x100000001b3L;

    private final Numbering numbering;
    private Map<String, int[]> bySegment = new HashMap<>();

    public RowNumbers(Numbering numbering) {
        this.numbering = numbering;
    }

    /** A path's 64-bit hash. The chance that any two of a million paths collide is one in 37 million. */
    public static long key(String path) throws McadException {
        long key = OFFSET;
        for (int i = 0; i < path.length(); i++) {
            char next = path.charAt(i);
            if (next >= 0x80) {
                return key(PathBytes.of(path)); // longer than a byte
            }
            key = (key ^ next) * PRIME;
        }
        return key;
    }

    private static long key(byte[] path) {
        long key = OFFSET;
        for (byte next : path) {
            key = (key ^ next & 0xff) * PRIME;
        }
        return key;
    }

    List<int[]> of(List<LiveSegment> segments) throws IOException {
        Map<String, int[]> current = new HashMap<>();
        List<int[]> all = new ArrayList<>();
        for (LiveSegment live : segments) {
            Segment segment = live.segment();
            // A recreated index may reuse a segment's name.
            String key = segment.file.path + " " + segment.headerCrc;
            int[] numbers = bySegment.get(key);
            numbers = numbers == null ? read(segment) : numbers;
            current.put(key, numbers);
            all.add(numbers);
        }
        bySegment = current; // forget segments that are gone
        return all;
    }

    private int[] read(Segment segment) throws IOException {
        int[] numbers = new int[segment.photos];
        for (int row = 0; row < numbers.length; row++) {
            numbers[row] = numbering.of(key(Moments.file(segment.paths.at(row))));
        }
        return numbers;
    }
}
