package mcad.engine.index;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

public final class PhotoIndex {
    public static PhotoIndex open(Path directory) throws IOException { throw new IOException(); }
    public static PhotoIndex openOrCreate(Path directory, int dim, String student, String sha256) throws IOException { throw new IOException(); }
    public int photos() { return 0; }
    public double bytesPerPhoto() { return 0; }
    public List<String> paths() throws IOException { return null; }
    public Hits search(float[] query, int k) throws IOException { return null; }
    public float[] embedding(String path) throws IOException { return null; }
    public IndexWriter writer() throws IOException { return null; }
}
