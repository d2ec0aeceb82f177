package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.Fsync;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.engine.towers.Quarantine;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;

/**
 * The bundle, the quarantined rungs and the index in an app's folder. Each is created on first use.
 *
 * <p>After an update with another student there are two of each: searches use the previous student as long as its
 * folder exists, until {@link #switchStudent} renames its bundle away.
 */
final class InstalledStudents {
    private static final String BUNDLE = "bundle";
    private static final String RUNGS = "rungs";
    private static final String BEFORE = ".before";
    private static final String GONE = ".gone";
    private static final String INDEX = "index-";

    /** A student and the photos that it has embedded. */
    record Student(Bundle bundle, Quarantine quarantine, Path index, PhotoLibrary library) {
        PhotoIndex openIndex() throws IOException {
            PhotoIndex opened = PhotoIndex.openOrCreate(index, bundle.dim, bundle.studentName, bundle.imageSha256);
            opened.nameBy(library::names);
            return opened;
        }

        /** Start over with an empty index. */
        void recreateIndex() throws IOException {
            PhotoIndex.recreate(index, bundle.dim, bundle.studentName, bundle.imageSha256).close();
        }
    }

    final List<Ladder.NpuListener> npuListeners = new CopyOnWriteArrayList<>();
    private final PhotoSearch.Setup setup;
    private Student own;
    private volatile Student previous;

    InstalledStudents(PhotoSearch.Setup setup) {
        this.setup = setup;
    }

    /** The caller closes it. */
    SearchEngine newEngine(Student student, int threads, boolean bulk) {
        SearchEngine engine = new SearchEngine(
            forPhone(student.bundle), threads, setup.libraries(), bulk, student.quarantine, setup.device().chip());
        engine.onNpuUnused((tower, why) -> npuListeners.forEach(listener -> listener.npuUnused(tower, why)));
        return engine;
    }

    /** This app's student, its bundle copied (megabytes) to where a runtime can open it. */
    synchronized Student own() throws IOException {
        if (own == null) {
            Bundle bundle = BundleInstaller.install(
                setup.bundle(), path(BUNDLE), this::replaced, setup.device().chip());
            Student student = student(bundle, RUNGS);
            previous = openPrevious(student);
            if (previous != null) {
                CrashRecord.inherit(previous.index, student.index);
            }
            tidy(student);
            own = student;
        }
        return own;
    }

    /** The student that searches use now. */
    synchronized Student searched() throws IOException {
        Student now = own();
        return previous == null ? now : previous;
    }

    /** The bundle that searches use now, with the text tower for the phone's language. */
    Bundle bundle() throws IOException {
        return forPhone(searched().bundle);
    }

    private Bundle forPhone(Bundle bundle) {
        return bundle.forLanguage(setup.device().language());
    }

    /** The student from before an update while searches use it, else null. Returns at once. */
    Student previous() {
        return previous;
    }

    /** Delete the previous student: none of its files may be in use. */
    synchronized void switchStudent() throws IOException {
        if (previous == null) {
            return;
        }
        Files.move(path(BUNDLE + BEFORE), path(BUNDLE + GONE), StandardCopyOption.ATOMIC_MOVE);
        Fsync.directory(setup.device().directory());
        previous = null;
        tidy(own);
    }

    private Path path(String name) {
        return setup.device().directory().resolve(name);
    }

    private Student student(Bundle bundle, String rungs) throws IOException {
        Device device = setup.device();
        Quarantine quarantine = Quarantine.open(
            path(rungs), device.environment() + " " + bundle.studentSha256 + " " + bundle.created, device);
        return new Student(bundle, quarantine, path(INDEX + bundle.imageSha256.substring(0, 16)), setup.library());
    }

    /** Move away or delete the installed bundle: keep it if its image tower differs and its index holds photos. */
    private void replaced(Bundle other, Path directory) throws IOException {
        Path previousFolder = path(BUNDLE + BEFORE);
        // After two updates in a row, only the first student has embedded all photos.
        if (!Files.exists(previousFolder) && hasPhotos(directory, other)) {
            Files.move(directory, previousFolder, StandardCopyOption.ATOMIC_MOVE);
        } else {
            BundleInstaller.deleteTree(directory);
        }
    }

    private boolean hasPhotos(Path directory, Bundle other) {
        try {
            Bundle bundle = Bundle.load(directory, false);
            Path index = path(INDEX + bundle.imageSha256.substring(0, 16));
            if (bundle.imageSha256.equals(other.imageSha256)) {
                return false;
            }
            try (PhotoIndex known = PhotoIndex.open(index)) {
                return known.photos() > 0;
            }
        } catch (IOException unreadable) {
            return false;
        }
    }

    private Student openPrevious(Student now) throws IOException {
        Path previousFolder = path(BUNDLE + BEFORE);
        if (hasPhotos(previousFolder, now.bundle)) {
            return student(Bundle.load(previousFolder, false), RUNGS + BEFORE);
        }
        BundleInstaller.deleteTree(previousFolder);
        return null;
    }

    /** Delete files of students no longer in use. If that fails, the next start tries again. */
    private void tidy(Student now) {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(setup.device().directory())) {
            for (Path file : files) {
                String name = file.getFileName().toString();
                boolean stray = name.equals(BUNDLE + GONE) || name.equals(RUNGS + BEFORE) && previous == null
                    || name.startsWith(INDEX) && !file.equals(now.index)
                        && (previous == null || !file.equals(previous.index));
                if (stray) {
                    BundleInstaller.deleteTree(file);
                }
            }
        } catch (IOException later) {
            // Until then it only takes space.
        }
    }
}
