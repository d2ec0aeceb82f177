package mcad.demo;

import android.content.Context;
import android.os.Handler;
import android.os.Looper;
import android.system.ErrnoException;
import android.system.Os;
import java.io.File;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import mcad.engine.Bundle;
import mcad.engine.BundleInstaller;
import mcad.engine.Ladder;
import mcad.engine.McadException;
import mcad.engine.SearchEngine;
import mcad.engine.gallery.CurrentIndex;
import mcad.engine.gallery.Numbers;
import mcad.engine.index.PhotoIndex;

/** What the app's screens and its job share: the bundle, the index, and one thread that searches. */
final class DemoEngine {
    static final int RESULTS = 120;

    private static DemoEngine instance;

    /** Searches run here, one after the other. */
    final ExecutorService worker = Executors.newSingleThreadExecutor();
    final Handler screen = new Handler(Looper.getMainLooper());
    final Numbers numbers = new Numbers();

    private final Context context;
    private final Object installing = new Object();
    private Bundle bundle;
    private SearchEngine engine;
    private Ladder.Climbed imageTower;
    private final CurrentIndex index = new CurrentIndex(this::openIndex);
    private Progress progress = new Progress(false, 0, 0, false, 0, null);
    private Runnable listener;

    /**
     * The state of the job that indexes: running, or, after it ran, finished or failed, with the photos that it had to
     * leave out. {@code failure} is null unless the last run ended in one.
     */
    record Progress(
            boolean running, int done, int total, boolean finished, int skipped, McadException.Kind failure) {
        static Progress running(int done, int total) {
            return new Progress(true, done, total, false, 0, null);
        }
    }

    private DemoEngine(Context context) {
        this.context = context;
    }

    static synchronized DemoEngine of(Context context) {
        if (instance == null) {
            instance = new DemoEngine(context.getApplicationContext());
        }
        return instance;
    }

    /** The bundle, copied out of the assets at the first start (megabytes: not on the screen's thread). */
    Bundle bundle() throws IOException {
        // Its own lock: the screen's thread asks for the rest, and must not wait for megabytes.
        synchronized (installing) {
            if (bundle == null) {
                String libraries = context.getApplicationInfo().nativeLibraryDir;
                try {
                    // Where the NPU's own loader looks for its half of Qualcomm's runtime.
                    Os.setenv("ADSP_LIBRARY_PATH", libraries, true);
                } catch (ErrnoException error) {
                    throw new IOException(error);
                }
                bundle = BundleInstaller.install(path -> context.getAssets().open("bundle/" + path),
                    context.getNoBackupFilesDir().toPath().resolve("bundle"));
            }
            return bundle;
        }
    }

    /** A new engine of the app's bundle; the caller closes it. */
    SearchEngine newEngine(int threads) throws IOException {
        List<File> libraries = Collections.singletonList(new File(context.getApplicationInfo().nativeLibraryDir));
        return new SearchEngine(bundle(), threads, libraries);
    }

    /** One index for each student: embeddings of two do not compare. No backup and no new phone gets it. */
    Path indexDirectory() throws IOException {
        String student = bundle().studentSha256.substring(0, 16);
        return context.getNoBackupFilesDir().toPath().resolve("index-" + student);
    }

    /** On {@link #worker}: search for words. */
    SearchEngine.Found search(String query) throws IOException {
        SearchEngine.Found found = engine().search(index(), query, RESULTS);
        numbers.addAll(found.ms());
        return found;
    }

    /** On {@link #worker}: search for photos like one of the index. */
    SearchEngine.Found moreLike(String path) throws IOException {
        return SearchEngine.moreLike(index(), path, RESULTS);
    }

    /** On {@link #worker}: the index as of its last commit. */
    PhotoIndex index() throws IOException {
        return index.get();
    }

    private PhotoIndex openIndex() throws IOException {
        Bundle made = bundle();
        return PhotoIndex.openOrCreate(indexDirectory(), made.dim, made.studentName, made.studentSha256);
    }

    /** On {@link #worker}: the engine that searches, its text tower loaded. */
    SearchEngine engine() throws IOException {
        if (engine == null) {
            SearchEngine made = newEngine(1);
            made.warmUp();
            engine = made;
        }
        return engine;
    }

    synchronized Ladder.Climbed imageTower() {
        return imageTower;
    }

    synchronized void imageTowerLoaded(Ladder.Climbed climbed) {
        imageTower = climbed;
    }

    synchronized Progress progress() {
        return progress;
    }

    /** From any thread: the job has got on, and the index may have a new commit. */
    void report(Progress now, boolean committed) {
        synchronized (this) {
            progress = now;
        }
        if (committed) {
            index.committed();
        }
        screen.post(this::tell);
    }

    /** On the screen's thread: who is told of {@link #report}; null for nobody. */
    void listen(Runnable told) {
        listener = told;
    }

    private void tell() {
        if (listener != null) {
            listener.run();
        }
    }
}
