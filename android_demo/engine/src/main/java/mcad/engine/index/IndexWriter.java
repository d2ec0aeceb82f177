package mcad.engine.index;

import java.io.IOException;

public final class IndexWriter implements AutoCloseable {
    public void add(String path, float[] embedding) throws IOException {}
    public boolean delete(String path) throws IOException { return false; }
    public void commit() throws IOException {}
    @Override public void close() throws IOException {}
}
