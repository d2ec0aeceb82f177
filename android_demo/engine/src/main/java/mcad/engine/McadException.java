package mcad.engine;

import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * An error that a user can meet: {@link #message} names what went wrong and with which value, {@link #hint} what to do
 * next.
 */
public final class McadException extends IOException {
    private static final long serialVersionUID = 1L;

    /** The kinds of errors, for messages in the user's language. {@link #message} is English, and for a log. */
    public enum Kind {
        /** The app may see no photos. */
        ACCESS,
        /** The phone's list of photos does not answer. */
        PHOTOS,
        /** The bundle is damaged, or made for another version. */
        BUNDLE,
        /** No rung of a tower runs here, or the one that ran failed. */
        TOWER,
        /** The index cannot be read. */
        INDEX,
        /** The index was read, and is not what was written: it is a cache, to be built again. */
        DAMAGED,
        /** The index cannot be written: most often, the storage is full. */
        STORAGE,
        /** The photo is not indexed. */
        NOT_INDEXED,
        OTHER
    }

    public final Kind kind;
    public final String message;
    public final String hint;

    public McadException(String message, String hint) {
        this(Kind.OTHER, message, hint, null);
    }

    public McadException(String message, String hint, Throwable cause) {
        this(Kind.OTHER, message, hint, cause);
    }

    public McadException(Kind kind, String message, String hint, @Nullable Throwable cause) {
        super(hint.isEmpty() ? message : message + "\n  " + hint, cause);
        this.kind = kind;
        this.message = message;
        this.hint = hint;
    }

    /** The same error, of this kind if it has none of its own. */
    public static McadException of(Kind kind, IOException error) {
        if (!(error instanceof McadException known)) {
            return new McadException(kind, error.toString(), "", error);
        }
        return known.kind == Kind.OTHER ? new McadException(kind, known.message, known.hint, known) : known;
    }

    /** The kind of any error. */
    public static Kind kind(Throwable error) {
        return error instanceof McadException known ? known.kind : Kind.OTHER;
    }
}
