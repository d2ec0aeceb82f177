package io.github.mcadmobile.engine;

import io.github.mcadmobile.engine.base.Fsync;
import java.io.FileNotFoundException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * Copies a bundle out of an APK's assets, where a runtime cannot open it. The copy is built beside its final place,
 * verified, flushed and renamed: if the phone is switched off meanwhile, the old bundle stays, or none.
 */
public final class BundleInstaller {
    /** Opens a bundle's files. FileNotFoundException or NoSuchFileException for a file that is not there. */
    public interface Source {
        InputStream open(String path) throws IOException;
    }

    /** A bundle in a folder, such as that of an asset pack. */
    public static Source folder(Path folder) {
        return path -> Files.newInputStream(folder.resolve(path));
    }

    /** A bundle in a zip file, with {@code bundle.json} at its top. */
    public static Source zip(Path file) {
        return path -> {
            ZipFile zip = new ZipFile(file.toFile());
            ZipEntry entry = zip.getEntry(path);
            if (entry == null) {
                zip.close();
                throw new NoSuchFileException(file + ": " + path);
            }
            return new FilterInputStream(zip.getInputStream(entry)) {
                @Override
                public void close() throws IOException {
                    zip.close();
                }
            };
        };
    }

    /** Called when an installed bundle is about to be replaced. */
    public interface Replaced {
        /** Delete {@code directory} or move it away; {@code other} is the new bundle. */
        void by(Bundle other, Path directory) throws IOException;
    }

    private static final int CHUNK = 1 << 16;

    private BundleInstaller() {}

    /**
     * Return the bundle at {@code directory}, first copying it from {@code source} if it is absent, incomplete or
     * another bundle.
     *
     * <p>Checksums are compared after copying, not at every start. McadException if it cannot be copied.
     */
    public static Bundle install(Source source, Path directory) throws McadException {
        return install(source, directory, (other, old) -> deleteTree(old), "");
    }

    /** As above, without an NPU's files for other chips than {@code chip}; {@code replaced} removes the old bundle. */
    public static Bundle install(Source source, Path directory, Replaced replaced, String chip) throws McadException {
        try {
            return installed(source, directory, replaced, chip);
        } catch (IOException error) {
            throw McadException.of(McadException.Kind.BUNDLE, error);
        }
    }

    private static Bundle installed(Source source, Path directory, Replaced replaced, String chip) throws IOException {
        byte[] manifest;
        try (InputStream in = source.open(Bundle.MANIFEST)) {
            manifest = readAll(in);
        }
        Path installed = directory.resolve(Bundle.MANIFEST);
        if (Files.isRegularFile(installed) && Arrays.equals(Files.readAllBytes(installed), manifest)) {
            try {
                Bundle bundle = Bundle.load(directory, false);
                if (!hasMore(source, bundle, chip)) {
                    return bundle;
                }
            } catch (McadException incomplete) {
                // A file of its manifest is missing: copy it again.
            }
        }
        Path partial = directory.resolveSibling(directory.getFileName() + ".partial");
        deleteTree(partial);
        Files.createDirectories(partial);
        try {
            Files.write(partial.resolve(Bundle.MANIFEST), manifest);
            copyFiles(source, manifest, partial, chip);
            Bundle bundle = Bundle.load(partial, true);
            syncTree(partial);
            if (Files.exists(directory)) {
                replaced.by(bundle, directory);
            }
            Files.move(partial, directory, StandardCopyOption.ATOMIC_MOVE);
            Fsync.directory(directory.toAbsolutePath().getParent());
        } catch (IOException | RuntimeException error) {
            deleteTree(partial);
            throw error;
        }
        return Bundle.load(directory, false);
    }

    /** Whether the app now has an NPU's files that it did not have when the bundle was copied. */
    private static boolean hasMore(Source source, Bundle bundle, String chip) {
        for (Bundle.Rung rung : bundle.npuRungs()) {
            if (!bundle.isHere(rung) && !rung.isForOtherThan(chip)) {
                try (InputStream there = source.open(rung.files().get(0).path())) {
                    return true;
                } catch (IOException missing) {
                    // It is for another chip.
                }
            }
        }
        return false;
    }

    private static void copyFiles(Source source, byte[] manifest, Path partial, String chip) throws IOException {
        Bundle bundle = Bundle.parse(partial, new String(manifest, StandardCharsets.UTF_8));
        Set<Bundle.FileRecord> mayBeMissing = new HashSet<>();
        bundle.npuRungs().forEach(rung -> mayBeMissing.addAll(rung.files()));
        for (Bundle.FileRecord file : bundle.files(rung -> !rung.isForOtherThan(chip))) {
            Path to = bundle.path(file);
            Files.createDirectories(to.getParent());
            try (InputStream in = source.open(file.path()); OutputStream out = Files.newOutputStream(to)) {
                byte[] chunk = new byte[CHUNK];
                for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
                    out.write(chunk, 0, count);
                }
            } catch (FileNotFoundException | NoSuchFileException missing) {
                if (!mayBeMissing.contains(file)) {
                    throw missing;
                }
            }
        }
    }

    private static void syncTree(Path path) throws IOException {
        if (!Files.isDirectory(path)) {
            Fsync.file(path);
            return;
        }
        try (DirectoryStream<Path> inside = Files.newDirectoryStream(path)) {
            for (Path child : inside) {
                syncTree(child);
            }
        }
        Fsync.directory(path);
    }

    private static byte[] readAll(InputStream in) throws IOException {
        byte[] all = new byte[0];
        byte[] chunk = new byte[CHUNK];
        for (int count = in.read(chunk); count >= 0; count = in.read(chunk)) {
            int before = all.length;
            all = Arrays.copyOf(all, before + count);
            System.arraycopy(chunk, 0, all, before, count);
        }
        return all;
    }

    /** Delete a file, or a folder with its contents, if it exists. */
    public static void deleteTree(Path path) throws IOException {
        if (Files.isDirectory(path)) {
            try (DirectoryStream<Path> inside = Files.newDirectoryStream(path)) {
                for (Path child : inside) {
                    deleteTree(child);
                }
            }
        }
        Files.deleteIfExists(path);
    }
}
