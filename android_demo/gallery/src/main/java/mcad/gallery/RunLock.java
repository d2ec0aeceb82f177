package mcad.gallery;

/**
 * Allows one run or task at a time. A caller that comes during a run makes it do another pass over the photos, or stops
 * and replaces it; one that comes during a task waits.
 */
final class RunLock {
    private boolean running;
    private boolean isTask;
    private boolean anotherPass;
    private boolean stopped;

    /**
     * Begin a run, after a task that is active; false if a run is active, which will then make another pass. {@code
     * instead}: stop the active run, wait for its last commit, and begin.
     */
    synchronized boolean begin(boolean instead) {
        if (running && !isTask && !instead) {
            anotherPass = true;
            return false;
        }
        take(false);
        return true;
    }

    /** Stop an active run, and begin a task. */
    synchronized void beginTask() {
        take(true);
    }

    /** Begin a task, unless a run or a task is active. */
    synchronized boolean tryTask() {
        if (running) {
            return false;
        }
        beginTask();
        return true;
    }

    private void take(boolean forTask) {
        boolean interrupted = false;
        while (running) {
            stopped = true;
            try {
                wait();
            } catch (InterruptedException later) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
        running = true;
        isTask = forTask;
        anotherPass = false;
        stopped = false;
    }

    /** Begin another pass if one was asked for; else end the run. True if a pass begins. */
    synchronized boolean beginNextPassOrEnd() {
        boolean begins = anotherPass && !stopped;
        anotherPass = false;
        if (!begins) {
            end();
        }
        return begins;
    }

    synchronized void end() {
        running = false;
        notifyAll();
    }

    synchronized void stop() {
        stopped = true;
    }

    synchronized void join() throws InterruptedException {
        while (running) {
            wait();
        }
    }

    synchronized boolean isStopped() {
        return stopped;
    }

    synchronized boolean isRunning() {
        return running;
    }
}
