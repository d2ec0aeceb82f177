package io.github.mcadmobile.gallery;

import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/** The last measured durations of each stage, in ms, and their percentiles. */
public final class Timings {
    private static final int KEPT = 200;

    private final Map<String, ArrayDeque<Double>> stages = new LinkedHashMap<>();

    public synchronized void add(String stage, double ms) {
        ArrayDeque<Double> durations = stages.get(stage);
        if (durations == null) {
            durations = new ArrayDeque<>();
            stages.put(stage, durations);
        }
        durations.addLast(ms);
        if (durations.size() > KEPT) {
            durations.removeFirst();
        }
    }

    public synchronized void addAll(Map<String, Double> ms) {
        for (Map.Entry<String, Double> stage : ms.entrySet()) {
            add(stage.getKey(), stage.getValue());
        }
    }

    /** The number of kept durations of a stage. */
    public synchronized int count(String stage) {
        ArrayDeque<Double> durations = stages.get(stage);
        return durations == null ? 0 : durations.size();
    }

    /** The sum of a stage's kept durations. */
    public synchronized double sum(String stage) {
        double sum = 0;
        for (double ms : stages.getOrDefault(stage, new ArrayDeque<>())) {
            sum += ms;
        }
        return sum;
    }

    /** A percentile, interpolated linearly between ranks as in bench; NaN if nothing was measured. */
    public synchronized double percentile(String stage, double percent) {
        ArrayDeque<Double> durations = stages.get(stage);
        if (durations == null) {
            return Double.NaN;
        }
        double[] ordered = new double[durations.size()];
        int at = 0;
        for (double ms : durations) {
            ordered[at++] = ms;
        }
        Arrays.sort(ordered);
        double rank = (ordered.length - 1) * percent / 100;
        int below = (int) rank;
        int above = Math.min(below + 1, ordered.length - 1);
        return ordered[below] + (ordered[above] - ordered[below]) * (rank - below);
    }
}
