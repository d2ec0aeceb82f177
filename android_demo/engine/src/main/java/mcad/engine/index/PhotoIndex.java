package mcad.engine.index;

import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.function.IntPredicate;
import mcad.engine.McadException;
import mcad.engine.base.Vectors;

/**
 * A directory of immutable segments and one manifest that names those that count: the format that mcad_mobile/index
 * writes and reads, too (docs/index-format.md).
 *
 * <p>An object reads the commit that it opened; its own writer moves it to the commit that the writer made. Searching
 * is for one thread at a time. Two writers in one process are kept apart; Java and Python writers are not.
 */
public final class PhotoIndex implements Closeable {
    static final double NORM_TOLERANCE = 1e-2;

    final Path directory;
    /** When its writer puts photos into cells. */
    private CellRule cellRule = CellRule.USUAL;
    private Manifest manifest;
    private List<LiveSegment> segments;
    private Search search;

    private PhotoIndex(Path directory, Commit commit) {
        this.directory = directory;
        use(commit);
    }

    /** A manifest and its open segments. */
    record Commit(Manifest manifest, List<LiveSegment> segments) {}

    /** Open the last commit. McadException: missing, damaged, or of an unknown schema. */
    public static PhotoIndex open(Path directory) throws IOException {
        return new PhotoIndex(directory, load(directory));
    }

    /** Open the index, made empty first where there is none. McadException if it is another student's. */
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

    /** Synchronized: an app's screen and its job may both come first. */
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
     * Start over in the place of an index that is damaged: an empty one, whatever is there. Killed in between, there is
     * the damaged one or the empty one. McadException when a writer is at work.
     */
    public static synchronized PhotoIndex recreate(Path directory, int dim, String student, String sha256)
            throws IOException {
        Files.createDirectories(directory);
        try (WriterLock lock = new WriterLock(directory)) {
            // No file of the old one may have the name of one that is to be written.
            long generation = 1 + Manifest.lastGeneration(directory);
            new Manifest(generation, dim, student, sha256, Collections.emptyList(), Collections.emptyList())
                .write(directory);
        }
        return open(directory);
    }

    CellRule cellRule() {
        return cellRule;
    }

    /** For tests: cells of fewer photos. */
    void cellRule(CellRule rule) {
        cellRule = rule;
    }

    public int dim() {
        return manifest.dim();
    }

    /** Number of photos, deleted ones not counted. */
    public int photos() {
        int photos = 0;
        for (LiveSegment live : segments) {
            photos += live.live();
        }
        return photos;
    }

    /** Bytes of all that is stored, paths too, for each live photo. */
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

    /** The {@code k} photos nearest to an embedding of unit length, best first; fewer when there are fewer. */
    public Hits search(float[] query, int k) throws IOException {
        return search(query, k, false);
    }

    /**
     * The same among {@code rows} alone, which are taken before candidates are counted: what is found of them is what
     * an index of them alone would find. McadException when they are of another commit.
     */
    public Hits search(float[] query, int k, Rows rows) throws IOException {
        if (!rows.isOf(segments)) {
            throw new McadException("The rows are of another commit of the index.", "Ask the index for them again.");
        }
        return search(query, k, false, new Search(segments, rows.passing()));
    }

    /** The same among all; {@code exact} scores all photos in place of the best candidates of the scan. */
    public Hits search(float[] query, int k, boolean exact) throws IOException {
        return search(query, k, exact, search);
    }

    private synchronized Hits search(float[] query, int k, boolean exact, Search by) throws IOException {
        checkLength(query, "The query");
        if (k < 1) {
            throw new McadException(k + " results were asked for.", "Ask for 1 or more.");
        }
        return by.search(Kernel.rotated(query, false), k, exact);
    }

    /**
     * The photos of this commit whose number passes. {@code known} keeps the numbers of each segment from one commit to
     * the next, of which most share most segments.
     */
    public Rows rows(RowNumbers known, IntPredicate passes) throws IOException {
        return Rows.of(segments, known.of(segments), passes);
    }

    /** The embedding that is stored of a photo, of about unit length; null if it is not there. */
    public float[] embedding(String path) throws IOException {
        byte[] raw = PathBytes.of(path);
        for (LiveSegment live : segments) {
            int row = live.segment().paths.find(raw);
            if (row >= 0 && !live.isDeleted(row)) {
                Codes.Row numbers = new Codes.Row(dim());
                numbers.read(live.segment(), live.segment().places.of(row), false);
                return Kernel.rotated(numbers.decode(live.segment().axis), true);
            }
        }
        return null;
    }

    /** Open for changes, from the last commit on disk on. McadException when another writer is at work. */
    public IndexWriter writer() throws IOException {
        return new IndexWriter(this);
    }

    /** Read the last commit whole. McadException names the file that is damaged. */
    public void verify() throws IOException {
        for (LiveSegment live : segments) {
            live.segment().verify();
        }
    }

    /** McadException unless {@code vector} fits and has length 1. */
    void checkLength(float[] vector, String name) throws McadException {
        if (vector.length != dim()) {
            throw new McadException(name + " has " + vector.length + " dimensions; this index takes " + dim() + ".",
                "Use the bundle that the index was made with.");
        }
        double norm = Math.sqrt(Vectors.dot(vector, vector));
        if (!(Math.abs(norm - 1) <= NORM_TOLERANCE)) {
            throw new McadException(name + " has length " + norm + ", not 1.",
                "Give embeddings of unit length without NaN or infinity.");
        }
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

    /** Read the manifest and map its segments, again if a commit replaced them in between. */
    static Commit load(Path directory) throws IOException {
        Kernel.load();
        Manifest manifest = Manifest.read(directory);
        while (true) {
            List<LiveSegment> segments = new ArrayList<>();
            try {
                for (Manifest.Entry entry : manifest.segments()) {
                    Segment segment = Segment.open(directory.resolve(entry.file()));
                    segments.add(new LiveSegment(segment, entry.deleted(), entry.candidates(), entry.prescan(), entry.cells()));
                    Prescan prescan = entry.prescan();
                    if (prescan != null && (prescan.bits() % 64 != 0 || prescan.bits() >= segment.scanned)) {
                        throw segment.file.damaged("it has not the " + prescan.bits() + " bits to scan first");
                    }
                    if (segment.photos != entry.photos() || segment.dim != manifest.dim()
                            || segment.headerCrc != entry.headerCrc()) {
                        throw segment.file.damaged("it is not the segment that the manifest names");
                    }
                    if ((entry.cells() == null) != (segment.cells == null)) {
                        throw segment.file.damaged("it and the manifest differ over whether it has cells");
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

    static void closeAll(List<LiveSegment> segments) throws IOException {
        for (LiveSegment live : segments) {
            live.segment().close();
        }
    }

    /** It waits for the end of a search, whose files it closes. */
    @Override
    public synchronized void close() throws IOException {
        closeAll(segments);
    }
}
