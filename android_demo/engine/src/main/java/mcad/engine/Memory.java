package mcad.engine;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;

/**
 * Memory of this process in MiB, from /proc/self/smaps_rollup (Linux 4.14, Android 10, and later). {@code rss} counts
 * every resident page whole, {@code pss} divides a page among the processes that map it; Android accounts by PSS.
 */
public record Memory(double pss, double rss) {
    private static final Path ROLLUP = Paths.get("/proc/self/smaps_rollup");

    /** McadException where the kernel has no such file. */
    public static Memory now() throws McadException {
        double pss = -1;
        double rss = -1;
        try (BufferedReader lines = Files.newBufferedReader(ROLLUP, StandardCharsets.US_ASCII)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (line.startsWith("Pss:")) {
                    pss = mebibytes(line);
                } else if (line.startsWith("Rss:")) {
                    rss = mebibytes(line);
                }
            }
        } catch (IOException error) {
            throw new McadException(ROLLUP + " cannot be read: " + error + ".",
                "Memory is measured on Android 10 and later.", error);
        }
        if (pss < 0 || rss < 0) {
            throw new McadException(ROLLUP + " names no Pss or no Rss.", "");
        }
        return new Memory(pss, rss);
    }

    private static double mebibytes(String line) {
        String[] words = line.trim().split("\\s+");
        return Long.parseLong(words[1]) / 1024.0;
    }
}
