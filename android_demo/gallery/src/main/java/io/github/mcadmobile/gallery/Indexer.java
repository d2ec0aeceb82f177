package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.towers.Ladder;
import java.io.IOException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.BooleanSupplier;
import java.util.logging.Level;
import java.util.logging.Logger;

/** The half of {@link PhotoSearch} that indexes: one run at a time, with progress reports. */
final class Indexer {
    /** On Android, it writes to logcat. */
    private static final Logger LOG = Logger.getLogger("mcad");

    private final PhotoSearch.Setup setup;
    private final InstalledStudents installed;
    private final PhotoLibrary photos;
    private final Timings timings;
    private final Runnable committed;
    private final Task switchStudent;
    private final RunLock runLock = new RunLock();
    private final List<Runnable> listeners = new CopyOnWriteArrayList<>();
    private volatile Ladder.LoadedRung imageTower;
    private volatile Indexing state = Indexing.UNKNOWN;
    private volatile boolean damaged;
    /** The number of photos in the last run. */
    private volatile int total;

    /**
     * {@code committed} is called when more photos may be searchable; {@code switchStudent} when searches should use
     * this app's student (see {@link StudentSwitch}).
     */
    Indexer(PhotoSearch.Setup setup, InstalledStudents installed, PhotoLibrary photos, Timings timings, Runnable committed,
            Task switchStudent) {
        this.setup = setup;
        this.installed = installed;
        this.photos = photos;
        this.timings = timings;
        this.committed = committed;
        this.switchStudent = switchStudent;
    }

    /** See {@link PhotoSearch#index}. */
    Optional<IndexRun.Outcome> index(boolean instead, BooleanSupplier wanted) throws IOException {
        if (!runLock.begin(instead)) {
            return Optional.empty();
        }
        Indexing ended = state;
        try {
            report(Indexing.started(), false);
            IndexRun.Outcome outcome = run(wanted);
            ended = state.ended(outcome, total);
            return Optional.of(outcome);
        } catch (IOException | RuntimeException | Error error) {
            ended = state.failed(McadException.kind(error));
            throw error;
        } finally {
            state = ended; // while no other run can have begun
            runLock.end();
            notifyListeners(true);
        }
    }

    /** Go over all photos, and again if a caller asked meanwhile. */
    private IndexRun.Outcome run(BooleanSupplier wanted) throws IOException {
        try (SearchEngine engine = newEngine()) {
            StudentSwitch studentSwitch = new StudentSwitch(installed, setup.device());
            Watch watch = new Watch(engine, studentSwitch, wanted);
            IndexRun.Outcome outcome;
            do {
                outcome = newRun(engine).run(damaged, watch, watch);
                if (outcome.left() == 0) {
                    watch.switchIfComplete();
                }
            } while (runLock.beginNextPass());
            return outcome;
        }
    }

    /** See {@link PhotoSearch#estimate}. */
    void estimate() throws IOException {
        if (!runLock.tryTask()) {
            return;
        }
        try (SearchEngine engine = newEngine()) {
            double pace = newRun(engine).pace();
            report(state.paced(pace), false);
        } finally {
            runLock.end();
        }
    }

    private SearchEngine newEngine() throws IOException {
        int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
        return installed.newEngine(installed.own(), threads, true);
    }

    private IndexRun newRun(SearchEngine engine) throws IOException {
        return new IndexRun(installed.own().index(), engine, setup.decoder(), photos, timings, setup.device());
    }

    void stop() {
        runLock.stop();
    }

    boolean isRunning() {
        return runLock.isRunning();
    }

    void join() throws InterruptedException {
        runLock.join();
    }

    /** A task that needs exclusive access. */
    interface Task {
        void run() throws IOException;
    }

    /** Stop an active run, then do the task while no run can begin. */
    void alone(Task task) throws IOException {
        runLock.beginTask();
        try {
            task.run();
        } finally {
            runLock.end();
        }
    }

    /** A search found the index damaged: the next run rebuilds it. */
    void damaged() {
        damaged = true;
    }

    /** Report a count of photos; ignored during a run, which keeps its own count. */
    void counted(int known, int all, int unreadable) {
        if (!runLock.isRunning()) {
            report(state.counted(known, all, unreadable), false);
        }
    }

    Indexing state() {
        return state;
    }

    Ladder.LoadedRung imageTower() {
        return imageTower;
    }

    void addListener(Runnable listener) {
        listeners.add(listener);
    }

    void removeListener(Runnable listener) {
        listeners.remove(listener);
    }

    /** The index is empty. Call within a task, and {@link #notifyListeners} after it. */
    void forget() {
        state = Indexing.UNKNOWN;
    }

    private void report(Indexing now, boolean mayBeMore) {
        state = now;
        notifyListeners(mayBeMore);
    }

    /** Call the listeners. */
    void notifyListeners(boolean mayBeMore) {
        if (mayBeMore) {
            committed.run();
        }
        for (Runnable listener : listeners) {
            try {
                listener.run();
            } catch (RuntimeException error) { // an error in the app must not end a run
                LOG.log(Level.WARNING, "A listener failed.", error);
            }
        }
    }

    /** The conditions of a run, and the reports of its progress. */
    private final class Watch implements Conditions, IndexRun.Progress {
        private final SearchEngine engine;
        private final StudentSwitch studentSwitch;
        private final BooleanSupplier wanted;
        private final Throughput throughput = new Throughput();

        Watch(SearchEngine engine, StudentSwitch studentSwitch, BooleanSupplier wanted) {
            this.engine = engine;
            this.studentSwitch = studentSwitch;
            this.wanted = wanted;
        }

        @Override
        public boolean isStopped() {
            stopUnlessWanted();
            return runLock.isStopped();
        }

        /** After a run over all photos. */
        private void switchIfComplete() throws IOException {
            if (studentSwitch.isComplete()) {
                switchStudent.run();
            }
        }

        /** Stop the run for good, even if it is wanted again later. */
        private void stopUnlessWanted() {
            if (!wanted.getAsBoolean()) {
                runLock.stop();
            }
        }

        @Override
        public int heat() {
            return setup.device().heat();
        }

        @Override
        public void done(int done, int all) {
            total = all;
            imageTower = engine.loadedImageTower() == null ? imageTower : engine.loadedImageTower();
            throughput.done(System.nanoTime());
            report(state.at(done, all, throughput.perMinute()), false);
        }

        @Override
        public void read(int done, int all) throws IOException {
            if (done == 0) {
                switchIfComplete();
                throughput.rested();
            }
            throughput.done(System.nanoTime());
            report(state.reading(done, all, throughput.perMinute()), false);
        }

        @Override
        public void committed(int photos) {
            report(state, true);
        }

        @Override
        public void rebuilt() {
            damaged = false; // if the run fails from now on, what it has indexed is kept
        }

        @Override
        public void listed(PhotoLibrary.Listing listing) throws IOException {
            if (studentSwitch.isStale(listing)) {
                switchStudent.run();
            }
        }

        @Override
        public void resting(boolean hot) {
            throughput.rested();
            report(state.resting(hot), false);
        }
    }
}
