package io.github.mcadmobile.engine.base;

import io.github.mcadmobile.engine.McadException;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;

/**
 * Memory of this process in MiB. {@code rss} counts every resident page in full, {@code pss} divides a page among the
 * processes that map it; Android accounts by PSS.
 */
public record Memory(double pss, double rss) {
    /** Totals by the kernel (Linux 4.14, Android 10, and later). */
    private static final Path ROLLUP = Paths.get("/proc/self/smaps_rollup");
    /** The same figures per mapping: on every kernel, but slower to read. */
    private static final Path MAPPINGS = Paths.get("/proc/self/smaps");
    private static final String HINT = "Measure on Android, or on Linux with the kernel option PROC_PAGE_MONITOR.";

    /** McadException if the kernel has neither file. */
    public static Memory now() throws McadException {
        return read(Files.isReadable(ROLLUP) ? ROLLUP : MAPPINGS);
    }

    static Memory read(Path file) throws McadException {
        double pss = 0;
        double rss = 0;
        try (BufferedReader lines = Files.newBufferedReader(file, StandardCharsets.ISO_8859_1)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith("Pss:")) {
                    pss += mebibytes(line);
                } else if (line.startsWith("Rss:")) {
                    rss += mebibytes(line);
                }
            }
        } catch (IOException error) {
            throw new McadException(file + " cannot be read: " + error + ".", HINT, error);
        }
        if (pss == 0 || rss == 0) {
            throw new McadException(file + " names no Pss or no Rss.", HINT);
        }
        return new Memory(pss, rss);
    }

    private static double mebibytes(String line) {
        String[] words = line.trim().split("\\s+");
        return Long.parseLong(words[1]) / 1024.0;
    }
}
