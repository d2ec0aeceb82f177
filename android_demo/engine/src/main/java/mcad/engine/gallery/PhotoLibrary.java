package mcad.engine.gallery;

import java.io.IOException;
import java.util.List;
import mcad.engine.PhotoDecoder;

/** The photos of a phone, or of a folder. */
public interface PhotoLibrary {
    /** A photo: what the index knows it by, when it changed (ms since 1970), and its bytes. */
    record Item(String path, long modifiedMs, long bytes) {}

    /** All photos that can be seen now, in the order in which they are to be indexed. */
    List<Item> list() throws IOException;

    PhotoDecoder.Source open(String path);

    /** IOException when photos may no longer be seen: one that does not open then is not a broken one. */
    void checkAccess() throws IOException;
}
