package mcad.gallery;

/**
 * Allows one run at a time. A caller that comes during a run makes it do another pass over the photos, or stops and
 * replaces it.
 */
final class RunLock {
    private boolean running;
    private boolean anotherPass;
    private boolean stopped;

    /**
     * Begin a run; false if one is active, which will then make another pass. {@code instead}: stop the active run,
     * wait for its last commit, and begin.
     */
    synchronized boolean begin(boolean instead) {
        if (running && !instead) {
            anotherPass = true;
            return false;
        }
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
        anotherPass = false;
        stopped = false;
        return true;
    }

    /** After a pass over all photos: whether to make another. If not, the run is over. */
    synchronized boolean isAskedAgain() {
        boolean goesOn = anotherPass && !stopped;
        anotherPass = false;
        if (!goesOn) {
            end();
        }
        return goesOn;
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
