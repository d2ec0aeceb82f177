package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.Match;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.engine.words.Ranking;
import io.github.mcadmobile.engine.words.WordHit;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
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
    private static final double NORM_TOLERANCE = 1e-2;
    private static final double NS_PER_MS = 1e6;

    final Path directory;
    /** See {@link IndexCore#openWriter}: tests allow cells of few photos. */
    int cellsFrom = -1;
    double cellsGain = -1;
    private volatile Names names = files -> files.stream().collect(Collectors.toMap(file -> file, file -> file));
    private volatile Commit commit;

    /** Says what files and their folders are called whose paths do not, as those of MediaStore. */
    public interface Names {
        /** The names of files by their paths; those that nobody may know are left out. */
        Map<String, String> of(List<String> files) throws IOException;
    }

    private PhotoIndex(Path directory, Commit commit) {
        this.directory = directory;
        this.commit = commit;
    }

    /** Open the last commit. McadException if the index is missing, damaged, or of an unknown schema. */
    public static PhotoIndex open(Path directory) throws IOException {
        return new PhotoIndex(directory, Commit.open(directory));
    }

    /**
     * Open the index, creating an empty one if there is none. McadException if it was built by another student.
     * Synchronized: an app's screen and job may both create it.
     */
    public static synchronized PhotoIndex openOrCreate(Path directory, int dim, String student, String sha256)
            throws IOException {
        if (!Files.exists(directory.resolve(Manifest.NAME))) {
            Files.createDirectories(directory);
            try (WriterLock lock = new WriterLock(directory)) {
                new Manifest(1, dim, student, sha256, List.of(), List.of()).write(directory);
            }
        }
        PhotoIndex index = open(directory);
        Manifest found = index.commit.manifest;
        if (found.dim() != dim || !found.studentSha256().equals(sha256)) {
            index.close();
            throw new McadException("The index " + directory + " was built by student " + found.student() + " (sha256 "
                + found.studentSha256() + ", " + found.dim() + " dimensions), not by this bundle's.",
                "Delete it and index the photos again.");
        }
        return index;
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
            Manifest empty = new Manifest(generation, dim, student, sha256, List.of(), List.of());
            empty.write(directory);
            empty.removeStrays(directory);
        }
        return open(directory);
    }

    public int dim() {
        return commit.manifest.dim();
    }

    /** The number of photos, without deleted ones. */
    public int photos() {
        return (int) commit.size[0];
    }

    /** Stored bytes per live photo, including its path. */
    public double bytesPerPhoto() {
        long[] size = commit.size;
        return size[0] == 0 ? 0 : (double) size[1] / size[0];
    }

    /** All photos of this commit, by ascending path. */
    public Membership membership() throws IOException {
        return new Membership(commit);
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
        return search(query, k, false, rows);
    }

    /** As above, among all photos; {@code exact} scores every photo instead of the scan's best candidates. */
    public Hits search(float[] query, int k, boolean exact) throws IOException {
        return search(query, k, exact, null);
    }

    private synchronized Hits search(float[] query, int k, boolean exact, @Nullable PassingRows rows)
            throws IOException {
        checkVector(query, "The query");
        long started = System.nanoTime();
        PassingRows among = commit.own(rows);
        long[] found = room(k, among);
        float[] scores = new float[found.length];
        double[] scanMs = new double[1];
        int count = commit.call((index, error) ->
            IndexCore.search(index, among.filter, query, exact, found, scores, scanMs, error));
        String[] paths = paths(Arrays.copyOf(found, count)).toArray(new String[0]);
        double ms = (System.nanoTime() - started) / NS_PER_MS;
        return new Hits(paths, Arrays.copyOf(scores, count), scanMs[0], ms - scanMs[0]);
    }

    private List<String> paths(long[] rows) throws IOException {
        return PathBytes.toStrings(commit.call((index, error) -> IndexCore.paths(index, rows, error)));
    }

    /** McadException unless a vector has this index's dimension and length 1. */
    void checkVector(float[] vector, String name) throws McadException {
        if (vector.length != dim()) {
            throw new McadException(name + " has " + vector.length + " dimensions; this index takes " + dim() + ".",
                "Use the bundle that the index was made with.");
        }
        double length = Math.sqrt(Vectors.dot(vector, vector));
        if (!(Math.abs(length - 1) <= NORM_TOLERANCE)) {
            throw new McadException(name + " has length " + (float) length + ", not 1.",
                "Give embeddings of unit length without NaN or infinity.");
        }
    }

    /** Room for the rows of {@code k} results. McadException for none. */
    private static long[] room(int k, PassingRows among) throws McadException {
        if (k < 1) {
            throw new McadException(k + " results were asked for.", "Ask for 1 or more.");
        }
        return new long[Math.max(1, Math.min(k, among.count()))];
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
        List<int[]> numbers = known.of(commit);
        long[][] bits = new long[numbers.size()][];
        for (int s = 0; s < bits.length; s++) {
            int[] ofRows = numbers.get(s);
            BitSet passing = new BitSet();
            for (int row = 0; row < ofRows.length; row++) {
                passing.set(row, ofRows[row] >= 0 && passes.test(ofRows[row]));
            }
            bits[s] = Arrays.copyOf(passing.toLongArray(), (ofRows.length + Long.SIZE - 1) / Long.SIZE);
        }
        return commit.rows(bits, Terms.bytes(Folding.fold(place)));
    }

    /** The stored embedding [dim] of a photo, or of a video's start, of about length 1; null if it is not indexed. */
    public synchronized float[] embedding(String path) throws IOException {
        float[] embedding = new float[dim()];
        return read(Moments.firstRow(path), null, null, embedding) ? embedding : null;
    }

    /** Read what an index knows of a photo, see {@link IndexCore#photos}; false if the index lacks it. */
    private boolean read(String path, int[] stamps, byte[] isRead, float[] embedding) throws IOException {
        long[] row = {commit.find(path)};
        return row[0] != IndexCore.NONE
            && commit.call((index, error) -> IndexCore.photos(index, row, stamps, isRead, embedding, error)) > 0;
    }

    /** Whether photos have words. */
    public boolean hasWords() {
        return commit.size[2] != 0;
    }

    /**
     * The {@code k} photos whose words match the largest share of a query, best first; of equal ones, those near an
     * embedding of unit length, if one is given. Among {@code rows} only, unless they are null.
     */
    public synchronized List<WordHit> searchWords(String query, int k, @Nullable PassingRows rows,
            float @Nullable [] near) throws IOException {
        if (near != null) {
            checkVector(near, "The query");
        }
        Terms terms = Terms.of(Ranking.termsToFind(query));
        PassingRows among = commit.own(rows);
        long[] found = room(k, among);
        float[] shares = new float[found.length];
        float[] cosines = new float[found.length];
        int count = commit.call((index, error) -> IndexCore.searchWords(
            index, among.filter, terms.words(), terms.modes(), near, found, shares, cosines, error));
        long[] best = Arrays.copyOf(found, count);
        List<String> paths = paths(best);
        byte[][] records = commit.call((index, error) -> IndexCore.readWords(index, best, error));
        List<String> ofFiles = names(paths);
        List<List<Match>> lines = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            lines.add(Terms.lines(ofFiles.get(i), WordRecords.words(records[i])));
        }
        terms.keepMatching(lines);
        List<WordHit> hits = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            hits.add(new WordHit(paths.get(i), shares[i], cosines[i], lines.get(i)));
        }
        return hits;
    }

    /** The words of a photo; null if the index lacks the photo, or has no words of it. */
    public synchronized PhotoWords words(String path) throws IOException {
        long[] row = {commit.find(path)};
        if (row[0] == IndexCore.NONE) {
            return null;
        }
        byte[] record = commit.call((index, error) -> IndexCore.readWords(index, row, error))[0];
        return record.length == 0 ? null : WordRecords.words(record);
    }

    /** Whether the index has a photo of this path and stamp whose text was not read. */
    public synchronized boolean isUnread(String path, int stamp) throws IOException {
        int[] stamps = new int[2];
        byte[] isRead = new byte[1];
        return read(path, stamps, isRead, null) && stamps[0] == stamp && isRead[0] == 0;
    }

    /** From now on, the words of names come from these, not from paths. */
    public void nameBy(Names source) {
        names = source;
    }

    /** The name of each row's file; empty for one that nobody may know. */
    List<String> names(List<String> rows) throws IOException {
        List<String> files = rows.stream().map(Moments::file).collect(Collectors.toList());
        Map<String, String> known = names.of(files.stream().distinct().collect(Collectors.toList()));
        return files.stream().map(file -> known.getOrDefault(file, "")).collect(Collectors.toList());
    }

    /** Open the last commit on disk for changes. McadException if another writer is active. */
    public IndexWriter writer() throws IOException {
        return new IndexWriter(this);
    }

    /** Read and check the whole commit. McadException names the damaged file. */
    public void verify() throws IOException {
        verify(null);
    }

    /** As above; InterruptedIOException soon after another thread sets {@code stop}, a direct buffer of an int. */
    public void verify(@Nullable ByteBuffer stop) throws IOException {
        commit.call((index, error) -> IndexCore.verify(index, stop, error));
    }

    /** Move to the last commit on disk. */
    synchronized void reload() throws IOException {
        Commit last = Commit.open(directory);
        commit.close();
        commit = last;
    }

    /** Waits for a running search, then closes its files. */
    @Override
    public synchronized void close() throws IOException {
        commit.close();
    }
}
