package mcad.engine.base;

/** The processes of an app: this one, and how earlier ones ended, as far as the system tells. */
public interface Processes {
    /** FAULT: it crashed, hung, or ran out of memory. OTHER: the user or the system ended it. */
    enum End { FAULT, OTHER, UNKNOWN }

    /** Where the system does not tell. */
    Processes UNTOLD = new Processes() {};

    /** The number of this process; 0 where it has none. */
    default int current() {
        return 0;
    }

    /** How a process that is gone ended. */
    default End end(int process) {
        return End.UNKNOWN;
    }
}
