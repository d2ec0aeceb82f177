package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.Closeable;
import java.io.IOException;

/**
 * The last commit of the index, for one searching thread: reopened after another thread commits. If reopening fails,
 * the old index stays open and the next call tries again.
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

    /** A new commit is available; may be called from any thread. */
    public void committed() {
        stale = true;
    }

    /** Call on the searching thread. IOException if the last commit cannot be opened. */
    public PhotoIndex get() throws IOException {
        if (!stale) {
            return index;
        }
        stale = false; // before opening: do not miss a commit made meanwhile
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
