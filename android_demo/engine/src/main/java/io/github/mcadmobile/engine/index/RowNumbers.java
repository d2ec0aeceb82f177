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
    private static final int AT_ONCE = 4096;

    private final Numbering numbering;
    private Map<String, int[]> bySegment = new HashMap<>();

    public RowNumbers(Numbering numbering) {
        this.numbering = numbering;
    }

    /** A path's 64-bit hash. The chance that any two of a million paths collide is one in 37 million. */
    public static long key(String path) throws McadException {
        long key = OFFSET;
        for (byte next : PathBytes.of(path)) {
            key = (key ^ next & 0xff) * PRIME;
        }
        return key;
    }

    /** Of each segment of a commit, the numbers of its rows. */
    List<int[]> of(Commit commit) throws IOException {
        Map<String, int[]> current = new HashMap<>();
        List<int[]> all = new ArrayList<>();
        for (Manifest.Entry entry : commit.manifest.segments()) {
            // A recreated index may reuse a segment's name.
            String key = commit.directory.resolve(entry.file()) + " " + entry.headerCrc();
            int[] numbers = bySegment.get(key);
            numbers = numbers == null ? read(commit, all.size(), entry.photos()) : numbers;
            current.put(key, numbers);
            all.add(numbers);
        }
        bySegment = current; // forget segments that are gone
        return all;
    }

    private int[] read(Commit commit, int segment, int photos) throws IOException {
        int[] numbers = new int[photos];
        for (int start = 0; start < photos; start += AT_ONCE) {
            long[] rows = new long[Math.min(AT_ONCE, photos - start)];
            for (int i = 0; i < rows.length; i++) {
                rows[i] = (long) (start + i) << Integer.SIZE | segment;
            }
            byte[][] paths = commit.call((index, error) -> IndexCore.paths(index, rows, error));
            for (int i = 0; i < rows.length; i++) {
                numbers[start + i] = numbering.of(key(Moments.file(PathBytes.toString(paths[i]))));
            }
        }
        return numbers;
    }
}
