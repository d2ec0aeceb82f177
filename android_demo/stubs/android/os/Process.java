package android.os;

import io.github.mcadmobile.stubs.Unset;

public class Process {
    public static final int THREAD_PRIORITY_BACKGROUND = Unset.number();
    public static final native int myPid();
    public static final native int myTid();
    public static final native int getThreadPriority(int thread);
    public static final native void setThreadPriority(int nice);
}
