package mcad.gallery;

import java.io.Closeable;
import java.io.IOException;
import mcad.engine.McadException;
import mcad.engine.index.PhotoIndex;

/**
 * The index as of its last commit, for one thread that searches: opened again when another thread has committed. When
 * that fails the index at hand stays open, and the next call tries again.
 */
public final class CurrentIndex implements Closeable {
    /** Opens the last commit. */
    public interface Opener {
        PhotoIndex open() throws IOException;
    }

    private final Opener opener;
    private volatile boolean stale = true;
    private PhotoIndex index;

    public CurrentIndex(Opener opener) {
        this.opener = opener;
    }

    /** From any thread: there is a new commit. */
    public void committed() {
        stale = true;
    }

    /** On the thread that searches. IOException when the last commit cannot be opened. */
    public PhotoIndex get() throws IOException {
        if (!stale) {
            return index;
        }
        stale = false; // before it is opened: a commit that comes meanwhile must not be missed
        PhotoIndex newest;
        try {
            newest = opener.open();
        } catch (IOException error) {
            stale = true;
            throw McadException.of(McadException.Kind.INDEX, error);
        } catch (RuntimeException error) {
            stale = true;
            throw error;
        }
        PhotoIndex before = index;
        index = newest;
        if (before != null) {
            before.close();
        }
        return index;
    }

    @Override
    public void close() throws IOException {
        if (index != null) {
            index.close();
        }
    }
}
