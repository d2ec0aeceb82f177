package io.github.mcadmobile.gallery;

/**
 * Allows one run or task at a time. A caller that comes during a run makes it do another pass over the photos, or stops
 * and replaces it; one that comes during a task, or a run that stops or ends, waits.
 */
final class RunLock {
    private boolean active;
    /** Whether a run is active that may make another pass. */
    private boolean joinable;
    private boolean anotherPass;
    private boolean stopped;

    /**
     * Begin a run; false if one is active that will make another pass. {@code instead}: stop an active run, wait for
     * its last commit, and begin.
     */
    synchronized boolean begin(boolean instead) {
        return take(true, !instead);
    }

    /** Stop an active run, and begin a task. */
    synchronized void beginTask() {
        take(false, false);
    }

    /** Begin a task, unless a run or a task is active. */
    synchronized boolean tryTask() {
        if (active) {
            return false;
        }
        beginTask();
        return true;
    }

    /** Begin when nothing is active; false if an active run was joined. */
    private boolean take(boolean forRun, boolean joins) {
        boolean interrupted = false;
        while (active) {
            if (joins && joinable && !stopped) {
                anotherPass = true;
                break;
            }
            stopped |= !joins;
            try {
                wait();
            } catch (InterruptedException later) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        if (active) {
            return false;
        }
        active = true;
        joinable = forRun;
        anotherPass = false;
        stopped = false;
        return true;
    }

    /** Begin another pass if one was asked for; else the run only has to {@link #end}. True if a pass begins. */
    synchronized boolean beginNextPass() {
        joinable = anotherPass && !stopped;
        anotherPass = false;
        return joinable;
    }

    synchronized void end() {
        active = false;
        notifyAll();
    }

    synchronized void stop() {
        stopped = true;
    }

    synchronized void join() throws InterruptedException {
        while (active) {
            wait();
        }
    }

    synchronized boolean isStopped() {
        return stopped;
    }

    /** Whether a run, not a task, is active. */
    synchronized boolean isRunning() {
        return active && joinable;
    }
}
