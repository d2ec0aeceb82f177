package io.github.mcadmobile.desktop;

import com.sun.management.ThreadMXBean;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.Photo;
import io.github.mcadmobile.engine.reading.Reader;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Measures words on this thread. {@code search INDEX QUERY...}: the processor time of searches, and the memory
 * that they take beyond that of an index that was just opened. {@code read BUNDLE PHOTO...}: those of reading the text in photos.
 */
final class WordsBenchmark {
    private static final int WARM_UP = 2000;
    private static final int TIMES = 11;
    private static final int K = 10;
    private static final double KIB_PER_MIB = 1024;

    private static final ThreadMXBean THREAD = (ThreadMXBean) ManagementFactory.getThreadMXBean();

    /** What is measured. */
    private interface Task {
        void run() throws IOException;
    }

    private WordsBenchmark() {}

    public static void main(String[] arguments) throws IOException {
        List<String> names = Arrays.asList(arguments).subList(2, arguments.length);
        Map<String, Object> ms = new LinkedHashMap<>();
        double allocated = 0;
        double before;
        if (arguments[0].equals("read")) {
            try (SearchEngine engine = new SearchEngine(Bundle.load(Paths.get(arguments[1]), false), 1, List.of())) {
                before = 0;
                for (String name : names) {
                    ms.put(name, median(() -> read(engine, Paths.get(name))));
                }
            }
        } else {
            try (PhotoIndex index = PhotoIndex.open(Paths.get(arguments[1]))) { // loads and compiles code
                for (int i = 0; i < WARM_UP; i++) {
                    index.searchWords(names.get(i % names.size()), K, null, null);
                }
            }
            try (PhotoIndex index = PhotoIndex.open(Paths.get(arguments[1]))) {
                System.gc();
                before = mib("VmRSS");
                Files.writeString(Paths.get("/proc/self/clear_refs"), "5"); // forgets the peak
                for (String name : names) {
                    long own = THREAD.getCurrentThreadAllocatedBytes();
                    ms.put(name, median(() -> index.searchWords(name, K, null, null)));
                    own = THREAD.getCurrentThreadAllocatedBytes() - own;
                    allocated = Math.max(allocated, own / (double) TIMES / KIB_PER_MIB / KIB_PER_MIB);
                }
            }
        }
        System.out.println(JsonFields.write(JsonFields.of("processor_ms", ms, "heap_mib_a_search", allocated,
            "mib", mib("VmHWM") - before, "java", System.getProperty("java.vm.name") + " "
                + System.getProperty("java.vm.version"))));
    }

    private static void read(SearchEngine engine, Path file) throws IOException {
        try (Photo photo = new ImageIoDecoder().decode(() -> Files.newInputStream(file), Reader.AT_LEAST)) {
            engine.readText(Reader.upright(photo));
        }
    }

    private static double median(Task task) throws IOException {
        double[] times = new double[TIMES];
        for (int i = 0; i < TIMES; i++) {
            long busy = THREAD.getCurrentThreadCpuTime();
            task.run();
            times[i] = (THREAD.getCurrentThreadCpuTime() - busy) / 1e6;
        }
        Arrays.sort(times);
        return times[TIMES / 2];
    }

    private static double mib(String name) throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/self/status"))) {
            if (line.startsWith(name + ":")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) / KIB_PER_MIB;
            }
        }
        throw new IOException("The kernel tells no " + name + ".");
    }
}
