package mcad.engine;

import java.io.IOException;

/** What a user can meet: what went wrong, with which value, and in {@link #hint} what to do next. */
public final class McadException extends IOException {
    private static final long serialVersionUID = 1L;

    public final String what;
    public final String hint;

    public McadException(String what, String hint) {
        this(what, hint, null);
    }

    public McadException(String what, String hint, Throwable cause) {
        super(hint.isEmpty() ? what : what + "\n  " + hint, cause);
        this.what = what;
        this.hint = hint;
    }
}
