package android.system;

public class ErrnoException extends Exception {
    private static final long serialVersionUID = 1L;
}
