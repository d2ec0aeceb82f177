package io.github.mcadmobile.engine.base;

/** An app's processes: the current one, and how earlier ones ended, if the system tells. */
public interface Processes {
    /** FAULT: it crashed, hung, or ran out of memory. OTHER: the user or the system ended it. */
    enum End { FAULT, OTHER, UNKNOWN }

    /** For systems that do not tell. */
    Processes UNTOLD = new Processes() {};

    /** The ID of this process; 0 if unknown. */
    default int current() {
        return 0;
    }

    /** How an earlier process ended. */
    default End end(int process) {
        return End.UNKNOWN;
    }
}
