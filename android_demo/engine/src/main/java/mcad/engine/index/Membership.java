package mcad.engine.index;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Walks all live photos of a commit by ascending path, with their stamps. It holds one block of paths of each segment
 * in memory, however many photos there are. It is valid as long as the commit that it was taken from is open.
 */
public final class Membership {
    private final List<Cursor> cursors = new ArrayList<>();
    private Cursor current;

    Membership(List<LiveSegment> segments) throws IOException {
        for (LiveSegment live : segments) {
            Cursor cursor = new Cursor(live);
            cursor.advance();
            cursors.add(cursor);
        }
    }

    /** Go on to the next photo; false behind the last. */
    public boolean next() throws IOException {
        if (current != null) {
            current.advance();
        }
        current = null;
        for (Cursor cursor : cursors) {
            if (cursor.path != null && (current == null || PathBytes.compare(cursor.path, current.path) < 0)) {
                current = cursor;
            }
        }
        return current != null;
    }

    public String path() {
        return PathBytes.toString(current.path);
    }

    /** Says which state of the file was embedded: see docs/index-format.md. */
    public int stamp() {
        return current.live.segment().stamps.get(2 * current.row);
    }

    /** The CRC-32 of the file's bytes. */
    public int contentStamp() {
        return current.live.segment().stamps.get(2 * current.row + 1);
    }

    /** Below 0 when this photo's path comes before another in the order of the members, 0 when it is the same. */
    public int compareTo(String path) throws IOException {
        return PathBytes.compare(current.path, PathBytes.of(path));
    }

    /** Paths in the order of the members: by their bytes. */
    public static int order(String a, String b) {
        return PathBytes.compare(a, b);
    }

    /** Walks the live rows of a segment. */
    private static final class Cursor {
        private final LiveSegment live;
        private int row = -1;
        private byte[] path;

        Cursor(LiveSegment live) {
            this.live = live;
        }

        void advance() throws IOException {
            do {
                row++;
            } while (row < live.segment().photos && live.isDeleted(row));
            path = row < live.segment().photos ? live.segment().paths.at(row) : null;
        }
    }
}
