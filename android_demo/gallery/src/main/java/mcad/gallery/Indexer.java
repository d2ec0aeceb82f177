package mcad.gallery;

import java.io.IOException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CopyOnWriteArrayList;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.towers.Ladder;

/** The half of {@link PhotoSearch} that indexes: who runs when, what is told of it. */
final class Indexer {
    /** On Android nice 10, as for what runs in the background (ART maps the priorities of Java). */
    private static final int BACKGROUND = 4;

    private final PhotoSearch.Setup setup;
    private final Installed installed;
    private final PhotoLibrary photos;
    private final Numbers numbers;
    private final Runnable committed;
    private final Task changeOver;
    private final Turns turns = new Turns();
    private final List<Runnable> listeners = new CopyOnWriteArrayList<>();
    private volatile Ladder.Climbed imageTower;
    private volatile Indexing state = Indexing.UNKNOWN;
    private volatile boolean damaged;
    /** Photos of the last run. */
    private volatile int total;

    /** {@code committed} is called when there may be more photos to search, {@code changeOver} as {@link Changeover} says. */
    Indexer(PhotoSearch.Setup setup, Installed installed, PhotoLibrary photos, Numbers numbers, Runnable committed,
            Task changeOver) {
        this.setup = setup;
        this.installed = installed;
        this.photos = photos;
        this.numbers = numbers;
        this.committed = committed;
        this.changeOver = changeOver;
    }

    /** See {@link PhotoSearch#index}. */
    Optional<IndexRun.Outcome> index(boolean instead) throws IOException {
        if (!turns.begin(instead)) {
            return Optional.empty();
        }
        int priority = Thread.currentThread().getPriority();
        Thread.currentThread().setPriority(BACKGROUND); // and that of the runtime's threads, which are its children
        Indexing ended = state;
        try {
            report(Indexing.started(), false);
            IndexRun.Outcome outcome = run();
            ended = state.ended(outcome, total);
            return Optional.of(outcome);
        } catch (IOException | RuntimeException | Error error) {
            turns.end(); // whatever it was: who waits for the turn would wait for ever
            ended = state.failed(McadException.kind(error));
            throw error;
        } finally {
            Thread.currentThread().setPriority(priority);
            report(ended, true);
        }
    }

    /** Once over all photos, and again for whoever came meanwhile. */
    private IndexRun.Outcome run() throws IOException {
        int threads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
        try (SearchEngine engine = installed.own().newEngine(threads, setup)) {
            Changeover changeover = new Changeover(installed, setup.clock());
            Watch watch = new Watch(engine, changeover);
            IndexRun.Outcome outcome;
            do {
                IndexRun run = new IndexRun(
                    installed.own().index(), engine, setup.decoder(), photos, numbers, setup.clock());
                outcome = run.run(damaged, watch, watch);
                damaged = false;
                if (outcome.finished() && changeover.isComplete()) {
                    changeOver.run();
                }
            } while (turns.isAskedAgain());
            return outcome;
        }
    }

    void stop() {
        turns.stop();
    }

    boolean isRunning() {
        return turns.isRunning();
    }

    void join() throws InterruptedException {
        turns.join();
    }

    /** What is to be done while no run is on. */
    interface Task {
        void run() throws IOException;
    }

    /** End a run that is on, and do this while none is. */
    void alone(Task task) throws IOException {
        turns.begin(true);
        try {
            task.run();
        } finally {
            turns.end();
        }
    }

    /** A search has found the index to be damaged: the next run starts over. */
    void damaged() {
        damaged = true;
    }

    /** Photos were counted; a run counts itself. */
    void counted(int known, int all) {
        if (!turns.isRunning()) {
            report(state.counted(known, all), false);
        }
    }

    Indexing state() {
        return state;
    }

    Ladder.Climbed imageTower() {
        return imageTower;
    }

    void addListener(Runnable listener) {
        listeners.add(listener);
    }

    void removeListener(Runnable listener) {
        listeners.remove(listener);
    }

    void report(Indexing now, boolean mayBeMore) {
        state = now;
        if (mayBeMore) {
            committed.run();
        }
        for (Runnable listener : listeners) {
            listener.run();
        }
    }

    /** What a run asks and tells. */
    private final class Watch implements Conditions, IndexRun.Progress {
        private final SearchEngine engine;
        private final Changeover changeover;
        private final Pace pace = new Pace();

        Watch(SearchEngine engine, Changeover changeover) {
            this.engine = engine;
            this.changeover = changeover;
        }

        @Override
        public boolean isStopped() {
            return turns.isStopped();
        }

        @Override
        public int heat() {
            return setup.heat().getAsInt();
        }

        @Override
        public void done(int done, int all) {
            total = all;
            imageTower = engine.loadedImageTower() == null ? imageTower : engine.loadedImageTower();
            pace.done(System.nanoTime());
            report(state.at(done, all, pace.perMinute()), false);
        }

        @Override
        public void committed(int photos) {
            report(state, true);
        }

        @Override
        public void listed(PhotoLibrary.Listing listing) throws IOException {
            if (changeover.isStale(listing)) {
                changeOver.run();
            }
        }

        @Override
        public void resting(boolean hot) {
            pace.rested();
            report(state.resting(hot), false);
        }
    }
}
