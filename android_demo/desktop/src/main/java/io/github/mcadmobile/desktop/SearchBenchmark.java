package io.github.mcadmobile.desktop;

import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.Memory;
import io.github.mcadmobile.engine.index.Hits;
import io.github.mcadmobile.engine.index.PhotoIndex;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Times searches of an index on this thread: INDEX QUERIES.f32 WARM_UP SEARCHES K. Prints each search's milliseconds
 * (wall clock and CPU) and results, then the heap, and the time to open the index again.
 */
final class SearchBenchmark {
    private static final double NS_PER_MS = 1e6;
    private static final int OPENED = 51;

    private SearchBenchmark() {}

    public static void main(String[] arguments) throws IOException {
        PhotoIndex index = PhotoIndex.open(Paths.get(arguments[0]));
        List<float[]> queries = read(arguments[1], index.dim());
        int warmUp = Integer.parseInt(arguments[2]);
        int searches = Integer.parseInt(arguments[3]);
        int k = Integer.parseInt(arguments[4]);
        for (int i = 0; i < warmUp; i++) {
            index.search(queries.get(i % queries.size()), k);
        }
        List<Double> scan = new ArrayList<>();
        List<Double> rescore = new ArrayList<>();
        List<Double> total = new ArrayList<>();
        List<Double> cpu = new ArrayList<>();
        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        List<Object> found = new ArrayList<>();
        for (int i = 0; i < searches; i++) {
            long busy = threads.getCurrentThreadCpuTime();
            long startNs = System.nanoTime();
            Hits hits = index.search(queries.get(i % queries.size()), k);
            total.add((System.nanoTime() - startNs) / NS_PER_MS);
            cpu.add((threads.getCurrentThreadCpuTime() - busy) / NS_PER_MS);
            scan.add(hits.scanMs());
            rescore.add(hits.rescoreMs());
            if (i < queries.size()) {
                found.add(Arrays.asList(hits.paths()));
            }
        }
        Memory memory = Memory.now();
        double[] opened = new double[OPENED];
        for (int i = 0; i < OPENED; i++) {
            long startNs = System.nanoTime();
            PhotoIndex.open(Paths.get(arguments[0])).close();
            opened[i] = (System.nanoTime() - startNs) / NS_PER_MS;
        }
        Arrays.sort(opened);
        Runtime runtime = Runtime.getRuntime();
        System.out.println(JsonFields.write(JsonFields.of("photos", index.photos(), "dim", index.dim(), "open_ms", opened[OPENED / 2],
            "scan", scan, "rescore", rescore, "total", total, "cpu", cpu, "found", found, "heap_limit_mib",
            runtime.maxMemory() / 1048576.0, "heap_mib", (runtime.totalMemory() - runtime.freeMemory()) / 1048576.0,
            "pss_mib", memory.pss(), "java", System.getProperty("java.vm.name") + " "
                + System.getProperty("java.vm.version"))));
        index.close();
    }

    /** Rows of {@code width} little-endian floats. */
    static List<float[]> read(String file, int width) throws IOException {
        ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(Paths.get(file))).order(ByteOrder.LITTLE_ENDIAN);
        List<float[]> rows = new ArrayList<>();
        while (in.hasRemaining()) {
            float[] row = new float[width];
            for (int i = 0; i < width; i++) {
                row[i] = in.getFloat();
            }
            rows.add(row);
        }
        return rows;
    }
}
