package mcad.gallery;

/**
 * Lets one run go at a time. A caller that comes while a run is on makes it go over the photos once more, or ends it
 * and takes its place.
 */
final class RunLock {
    private boolean running;
    private boolean again;
    private boolean stopped;

    /**
     * Begin a run; false when one is on, which will go over the photos once more. {@code instead}: end that one, wait
     * until it has committed what it has, and begin.
     */
    synchronized boolean begin(boolean instead) {
        if (running && !instead) {
            again = true;
            return false;
        }
        boolean interrupted = false;
        while (running) {
            stopped = true;
            again = false;
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
        again = false;
        stopped = false;
        return true;
    }

    /** After the run went over all photos: whether to do it once more. If not, the run is over. */
    synchronized boolean isAskedAgain() {
        boolean more = again && !stopped;
        again = false;
        if (!more) {
            end();
        }
        return more;
    }

    synchronized void end() {
        running = false;
        notifyAll();
    }

    synchronized void stop() {
        stopped = true;
        again = false;
    }

    /** Wait until no run is on. */
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
