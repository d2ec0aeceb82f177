package io.github.mcadmobile.engine.index;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Iterates over all live photos and videos of a commit by the path of their first row, with their stamps. Holds one block of paths per segment
 * in memory, however many photos there are. Valid while its commit is open.
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

    /** Advance to the next file; false after the last. */
    public boolean next() throws IOException {
        boolean more = nextRow();
        while (more && Moments.ms(PathBytes.toString(current.path)) > 0) {
            more = nextRow();
        }
        return more;
    }

    private boolean nextRow() throws IOException {
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
        return Moments.file(PathBytes.toString(current.path));
    }

    /** Identifies the state of the file that was embedded: see docs/index-format.md. */
    public int stamp() {
        return current.live.segment().stamps.get(2 * current.row);
    }

    /** The CRC-32 of the file's bytes. */
    public int contentStamp() {
        return current.live.segment().stamps.get(2 * current.row + 1);
    }

    /** Negative if this file's first row sorts before {@code row}, 0 if they are equal. */
    public int compareTo(String row) throws IOException {
        return PathBytes.compare(current.path, PathBytes.of(row));
    }

    /** Compare paths in this order: by their bytes. */
    public static int order(String a, String b) {
        return PathBytes.compare(a, b);
    }

    /** Iterates over the live rows of a segment. */
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
