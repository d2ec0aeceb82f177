package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.NativeLibrary;
import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.engine.words.WordHit;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.IntPredicate;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * A photo index: a directory of immutable segments and a manifest that names the current ones, in the format that
 * mcad_mobile/engine/index reads and writes too (docs/index-format.md).
 *
 * <p>An index reads the commit that it opened; its own writer moves it to the new commit. Searches run one at a time.
 * The lock keeps Java writers apart, but not a Java and a Python writer.
 */
public final class PhotoIndex implements Closeable {
    static final double NORM_TOLERANCE = 1e-2;

    final Path directory;
    /** The fewest photos of a segment with cells, and whether it has them at any cost: tests allow cells of few. */
    int cellsFrom = Kernel.cellsFrom();
    boolean cellsAtAnyCost;
    private volatile Names names = files -> files.stream().collect(Collectors.toMap(file -> file, file -> file));
    private Manifest manifest;
    private List<LiveSegment> segments;
    private Search search;

    /** Says what files and their folders are called whose paths do not, as those of MediaStore. */
    public interface Names {
        /** The names of files by their paths; those that nobody may know are left out. */
        Map<String, String> of(List<String> files) throws IOException;
    }

    private PhotoIndex(Path directory, Commit commit) {
        this.directory = directory;
        use(commit);
    }

    /** A manifest and its open segments. */
    record Commit(Manifest manifest, List<LiveSegment> segments) {}

    /** Open the last commit. McadException if the index is missing, damaged, or of an unknown schema. */
    public static PhotoIndex open(Path directory) throws IOException {
        return new PhotoIndex(directory, load(directory));
    }

    /** Open the index, creating an empty one if there is none. McadException if it was built by another student. */
    public static PhotoIndex openOrCreate(Path directory, int dim, String student, String sha256) throws IOException {
        create(directory, new Manifest(1, dim, student, sha256, Collections.emptyList(), Collections.emptyList()));
        PhotoIndex index = open(directory);
        if (index.manifest.dim() != dim || !index.manifest.studentSha256().equals(sha256)) {
            index.close();
            throw new McadException("The index " + directory + " was built by student " + index.manifest.student()
                + " (sha256 " + index.manifest.studentSha256() + ", " + index.manifest.dim()
                + " dimensions), not by this bundle's.", "Delete it and index the photos again.");
        }
        return index;
    }

    /** Synchronized: an app's screen and job may both create it. */
    private static synchronized void create(Path directory, Manifest empty) throws IOException {
        if (Files.exists(directory.resolve(Manifest.NAME))) {
            return;
        }
        Files.createDirectories(directory);
        try (WriterLock lock = new WriterLock(directory)) {
            empty.write(directory);
        }
    }

    /**
     * Replace an index by an empty one, whatever is there, and delete its files. If killed meanwhile, either the old or
     * the empty one remains. McadException if a writer is active.
     */
    public static synchronized PhotoIndex recreate(Path directory, int dim, String student, String sha256)
            throws IOException {
        Files.createDirectories(directory);
        try (WriterLock lock = new WriterLock(directory)) {
            // No file of the old index may have the name of a new file.
            long generation = 1 + Manifest.lastGeneration(directory);
            Manifest empty =
                new Manifest(generation, dim, student, sha256, Collections.emptyList(), Collections.emptyList());
            empty.write(directory);
            empty.removeStrays(directory);
        }
        return open(directory);
    }

    public int dim() {
        return manifest.dim();
    }

    /** The number of photos, without deleted ones. */
    public int photos() {
        int photos = 0;
        for (LiveSegment live : segments) {
            photos += live.live();
        }
        return photos;
    }

    /** Stored bytes per live photo, including its path. */
    public double bytesPerPhoto() {
        long used = 0;
        for (LiveSegment live : segments) {
            used += live.segment().usedBytes();
        }
        return photos() == 0 ? 0 : (double) used / photos();
    }

    /** All photos of this commit, by ascending path. */
    public Membership membership() throws IOException {
        return new Membership(segments);
    }

    /** The {@code k} photos nearest to an embedding of unit length, best first; fewer if the index holds fewer. */
    public Hits search(float[] query, int k) throws IOException {
        return search(query, k, false);
    }

    /**
     * As above, among {@code rows} only. Rows are filtered before candidates are counted, so the results are those of
     * an index of these photos alone. McadException if the rows are of another commit.
     */
    public Hits search(float[] query, int k, PassingRows rows) throws IOException {
        return search(query, k, false, among(rows));
    }

    private Search among(PassingRows rows) throws McadException {
        if (!rows.isOf(segments)) {
            throw new McadException("The rows are of another commit of the index.", "Ask the index for them again.");
        }
        return new Search(segments, rows.passing());
    }

    /** As above, among all photos; {@code exact} scores every photo instead of the scan's best candidates. */
    public Hits search(float[] query, int k, boolean exact) throws IOException {
        return search(query, k, exact, search);
    }

    private synchronized Hits search(float[] query, int k, boolean exact, Search by) throws IOException {
        prepared(query, "The query");
        checkCount(k);
        return by.search(Kernel.rotated(query), k, exact);
    }

    private static void checkCount(int k) throws McadException {
        if (k < 1) {
            throw new McadException(k + " results were asked for.", "Ask for 1 or more.");
        }
    }

    /**
     * The photos of this commit whose number passes. {@code known} caches the numbers of each segment across commits,
     * which mostly share segments.
     */
    public PassingRows rows(RowNumbers known, IntPredicate passes) throws IOException {
        return rows(known, passes, "");
    }

    /** As above, and that were taken at a place whose names have all these words. */
    public synchronized PassingRows rows(RowNumbers known, IntPredicate passes, String place) throws IOException {
        return PassingRows.of(segments, known.of(segments), passes, Folding.fold(place));
    }

    /** The stored embedding [dim] of a photo, or of a video's start, of about unit length; null if it is not indexed. */
    public float[] embedding(String path) throws IOException {
        byte[] raw = PathBytes.of(Moments.firstRow(path));
        for (LiveSegment live : segments) {
            int row = live.segment().paths.find(raw);
            if (row >= 0 && !live.isDeleted(row)) {
                return Kernel.unrotated(Records.decoded(live.segment(), row));
            }
        }
        return null;
    }

    /** Whether photos have words. */
    public boolean hasWords() {
        return segments.stream().anyMatch(live -> live.words() != null);
    }

    /**
     * The {@code k} photos whose words match the largest share of a query, best first; of equal ones, those near an
     * embedding of unit length, if one is given. Among {@code rows} only, unless they are null.
     */
    public synchronized List<WordHit> searchWords(String query, int k, @Nullable PassingRows rows, float @Nullable [] near)
            throws IOException {
        checkCount(k);
        Search by = rows == null ? search : among(rows);
        return new WordSearch(segments, query, this).search(k, by, near == null ? null : Kernel.rotated(near));
    }

    /** The words of a photo; null if the index lacks the photo, or has no words of it. */
    public synchronized PhotoWords words(String path) throws IOException {
        byte[] raw = PathBytes.of(path);
        for (LiveSegment live : segments) {
            int row = live.segment().paths.find(raw);
            if (row >= 0 && !live.isDeleted(row)) {
                return live.words() == null ? null : live.words().photos(row).get(0);
            }
        }
        return null;
    }

    /** Whether the index has a photo of this path and stamp whose text was not read. */
    public synchronized boolean isUnread(String path, int stamp) throws IOException {
        byte[] raw = PathBytes.of(path);
        for (LiveSegment live : segments) {
            int row = live.segment().paths.find(raw);
            if (row >= 0 && !live.isDeleted(row)) {
                return live.segment().stamps.get(2 * row) == stamp && (live.words() == null || !live.words().isRead(row));
            }
        }
        return false;
    }

    /** From now on, the words of names come from these, not from paths. */
    public void nameBy(Names source) {
        names = source;
    }

    /** The names of the files of rows. */
    Map<String, String> names(List<String> rows) throws IOException {
        return names.of(rows.stream().map(Moments::file).distinct().collect(Collectors.toList()));
    }

    /** Open the last commit on disk for changes. McadException if another writer is active. */
    public IndexWriter writer() throws IOException {
        return new IndexWriter(this);
    }

    /** Read and check the whole commit. McadException names the damaged file. */
    public void verify() throws IOException {
        for (LiveSegment live : segments) {
            live.verify();
        }
    }

    /** A vector, scaled to length 1 and rotated; McadException unless it has this index's dimension and length 1. */
    float[] prepared(float[] vector, String name) throws McadException {
        if (vector.length != dim()) {
            throw new McadException(name + " has " + vector.length + " dimensions; this index takes " + dim() + ".",
                "Use the bundle that the index was made with.");
        }
        float[] rotated = vector.clone();
        float norm = Kernel.prepare(rotated);
        if (!(Math.abs(norm - 1) <= NORM_TOLERANCE)) {
            throw new McadException(name + " has length " + norm + ", not 1.",
                "Give embeddings of unit length without NaN or infinity.");
        }
        return rotated;
    }

    /** Move to the last commit on disk. */
    void reload() throws IOException {
        Commit commit = load(directory);
        close();
        use(commit);
    }

    private void use(Commit commit) {
        manifest = commit.manifest;
        segments = commit.segments;
        search = new Search(segments);
    }

    /** Read the manifest and map its segments; retry if a commit replaced them meanwhile. */
    static Commit load(Path directory) throws IOException {
        NativeLibrary.load();
        Manifest manifest = Manifest.read(directory);
        while (true) {
            List<LiveSegment> segments = new ArrayList<>();
            try {
                for (Manifest.Entry entry : manifest.segments()) {
                    Segment segment = Segment.open(directory.resolve(entry.file()));
                    segments.add(live(segment, entry, null));
                    Prescan prescan = entry.prescan();
                    if (prescan != null && (prescan.bits() % 64 != 0 || prescan.bits() >= segment.scanned)) {
                        throw segment.file.damaged("it does not have the " + prescan.bits() + " bits that its prescan needs");
                    }
                    if (segment.photos != entry.photos() || segment.dim != manifest.dim()
                            || segment.headerCrc != entry.headerCrc()) {
                        throw segment.file.damaged("it is not the segment that the manifest names");
                    }
                    if ((entry.cells() == null) != segment.places.areRows()) {
                        throw segment.file.damaged("it and the manifest differ over whether it has cells");
                    }
                    if (entry.words() != null) {
                        WordsFile words = WordsFile.open(directory.resolve(entry.words()), segment);
                        segments.set(segments.size() - 1, live(segment, entry, words));
                    }
                }
                return new Commit(manifest, segments);
            } catch (NoSuchFileException gone) {
                closeAll(segments);
                Manifest newer = Manifest.read(directory);
                if (newer.generation() == manifest.generation()) {
                    throw new McadException(McadException.Kind.DAMAGED, "The index file " + gone.getFile()
                        + " is damaged: the manifest names it, and it is gone.", SegmentFile.REBUILD, gone);
                }
                manifest = newer;
            } catch (IOException | RuntimeException error) {
                closeAll(segments);
                throw error;
            }
        }
    }

    private static LiveSegment live(Segment segment, Manifest.Entry entry, WordsFile words) {
        return new LiveSegment(segment, entry.deleted(), entry.candidates(), entry.prescan(), entry.cells(), words);
    }

    static void closeAll(List<LiveSegment> segments) throws IOException {
        for (LiveSegment live : segments) {
            live.close();
        }
    }

    /** Waits for a running search, then closes its files. */
    @Override
    public synchronized void close() throws IOException {
        closeAll(segments);
    }
}
