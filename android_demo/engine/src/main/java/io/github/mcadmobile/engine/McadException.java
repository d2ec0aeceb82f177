package io.github.mcadmobile.engine;

import java.io.IOException;
import org.jspecify.annotations.Nullable;

/**
 * An error that an app may show by its {@link #kind}. {@link #message} says what went wrong and with which value,
 * {@link #hint} what to do next.
 */
public final class McadException extends IOException {
    private static final long serialVersionUID = 1L;

    /** The kind of error, for messages in the user's language. {@link #message} is English, for logs. */
    public enum Kind {
        /** The app may not see photos. */
        ACCESS,
        /** The photos cannot be listed. */
        PHOTOS,
        /** The bundle is damaged, or was made for another version. */
        BUNDLE,
        /** No rung of a tower runs on this phone, or the loaded one failed. */
        TOWER,
        /** The index cannot be read. */
        INDEX,
        /** The index is damaged. It is a cache: rebuild it. */
        DAMAGED,
        /** The index cannot be written: usually, storage is full. */
        STORAGE,
        /** The photo is not indexed. */
        NOT_INDEXED,
        OTHER
    }

    /** What helps against a damaged bundle. An app's developer does it, with the tool that made the bundle. */
    public static final String EXPORT_AGAIN = "Export the bundle again.";

    private static final String STORAGE_OR_INSTALL =
        "Free some storage and try again. If it fails again, install the app again.";

    public final Kind kind;
    public final String message;
    public final String hint;

    public McadException(String message, String hint) {
        this(Kind.OTHER, message, hint, null);
    }

    public McadException(String message, String hint, Throwable cause) {
        this(Kind.OTHER, message, hint, cause);
    }

    /** IllegalArgumentException without a hint: whoever reads the error needs one. */
    public McadException(Kind kind, String message, String hint, @Nullable Throwable cause) {
        super(message + "\n  " + hint, cause);
        if (hint.isEmpty()) {
            throw new IllegalArgumentException("An error needs a hint: " + message);
        }
        this.kind = kind;
        this.message = message;
        this.hint = hint;
    }

    /** The error as a McadException, of {@code kind} if it has none of its own. */
    public static McadException of(Kind kind, IOException error) {
        if (!(error instanceof McadException known)) {
            return new McadException(kind, error + ".", STORAGE_OR_INSTALL, error);
        }
        return known.kind == Kind.OTHER ? new McadException(kind, known.message, known.hint, known) : known;
    }

    /** An error that nobody foresaw: in this library, or in what the app gave it. */
    public static McadException unforeseen(Throwable cause) {
        return new McadException("An unexpected error: " + cause + ".", "Report it with its stack trace.", cause);
    }

    /** The kind of any error. */
    public static Kind kind(Throwable error) {
        return error instanceof McadException known ? known.kind : Kind.OTHER;
    }
}
