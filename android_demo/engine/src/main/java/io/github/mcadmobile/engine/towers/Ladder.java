package io.github.mcadmobile.engine.towers;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.Npy;
import io.github.mcadmobile.engine.base.Vectors;
import java.io.File;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * Loads a tower's best rung that runs on this phone and passes the golden self-test. Rungs are tried in the bundle's
 * order: QNN if its library is present, the binary is for this chip and it was not refused before; LiteRT with 8-bit
 * activations if the app has it; ONNX models on XNNPACK where it has kernels, then on the CPU.
 */
public final class Ladder {
    /**
     * A device's embeddings must have this cosine to those stored for the rung, or the rung's own parity if that is
     * lower: another version of a runtime may round differently, by a part of what quantization costs.
     */
    private static final double LEAST_AGREEMENT = 0.999;
    private static final double LEAST_PARITY = 0.95;
    private static final Logger LOG = Logger.getLogger("mcad");
    private static final int SQUARE = 16;
    private static final int CLASSES = 64;
    private static final String QNN_LIBRARY = "libQnnHtp.so";
    private static final String QNN_PLUG_IN = "libonnxruntime_providers_qnn.so";

    /** Why a step was skipped. */
    public enum Reason { NO_RUNTIME, SLOW, NO_LIBRARY, OTHER_CHIP, FAILED, SELF_TEST, DIED }

    /** A skipped step; {@code detail} is English, for logs; {@code remembered}: {@link Quarantine} skips it. */
    public record Skipped(String step, Reason reason, String detail, boolean remembered) {
        Skipped(Step step, Reason reason, String detail) {
            this(step.toString(), reason, detail, false);
        }

        @Override
        public String toString() {
            return step + ": " + detail;
        }
    }

    /** Is told why the bundle's NPU files do not run a tower, on the thread that loads the tower. */
    public interface NpuListener {
        /** {@code tower}: "image", "text" or "multilingual". {@code why}: of the file for this chip, if there is one. */
        void npuUnused(String tower, Skipped why);
    }

    /** The chosen tower, its worst golden cosine, and the steps skipped before it. */
    public record LoadedRung(Tower tower, double cosine, List<Skipped> skipped) {
        /** Runtime, precision and provider: "onnx int8 by CPU". */
        @Override
        public String toString() {
            return new Step(tower.rung, tower.provider).toString();
        }
    }

    /** A rung with the provider to run it. */
    public record Step(Bundle.Rung rung, Tower.Provider provider) {
        @Override
        public String toString() {
            String chip = provider == Tower.Provider.QNN && !rung.chips().isEmpty() ? " for " + rung.chips().get(0) : "";
            return rung.runtime() + " " + rung.precision() + chip + " by " + provider;
        }
    }

    private final Bundle bundle;
    private final int threads;
    private final List<File> libraries;
    private final boolean bulk;
    private final Quarantine quarantine;
    private final String chip;
    private NpuListener npuListener = (tower, why) -> {};

    /** {@code libraries}: folders that may hold native libraries of an NPU. */
    public Ladder(Bundle bundle, int threads, List<File> libraries) {
        this(bundle, threads, libraries, false, Quarantine.NONE, "");
    }

    /**
     * As above, without the rungs in {@code quarantine}.
     *
     * @param bulk whether towers run for minutes: an NPU then uses a speed that it can sustain
     * @param chip the phone's, as {@code Build.SOC_MODEL} names it; empty if unknown
     */
    public Ladder(Bundle bundle, int threads, List<File> libraries, boolean bulk, Quarantine quarantine,
            String chip) {
        this.bundle = bundle;
        this.threads = threads;
        this.libraries = libraries;
        this.bulk = bulk;
        this.quarantine = quarantine;
        this.chip = chip;
    }

    public void onNpuUnused(NpuListener listener) {
        npuListener = listener;
    }

    /** Choose and load a rung of a {@link Bundle#tower}. McadException with every reason if no rung runs. */
    public LoadedRung chooseRung(String tower) throws IOException {
        List<Skipped> skipped = new ArrayList<>();
        Step last = last(bundle.tower(tower));
        for (Bundle.Rung rung : bundle.tower(tower).rungs()) {
            List<Step> steps = steps(rung);
            if (steps.isEmpty()) {
                skipped.add(new Skipped(
                    rung.runtime() + " " + rung.precision(), Reason.NO_RUNTIME, "this app has no such runtime", false));
            }
            for (Step step : steps) {
                if (step.provider() == Tower.Provider.LITERT && rung.precision().endsWith("a16")) {
                    skipped.add(new Skipped(step, Reason.SLOW,
                        "LiteRT has no fast CPU kernels for 16-bit activations"));
                    continue;
                }
                if (rung.isForOtherThan(chip)) {
                    skipped.add(new Skipped(step, Reason.OTHER_CHIP,
                        "it is compiled for " + step.rung().chips().get(0) + ", and this phone has " + chip));
                    continue;
                }
                if (step.provider() == Tower.Provider.QNN && !bundle.isHere(rung)) {
                    skipped.add(new Skipped(step, Reason.OTHER_CHIP,
                        "Google Play gave its files to phones with another chip alone"));
                    continue;
                }
                // The last step is tried even if it failed before: nothing comes after it.
                Skipped known = step.equals(last) ? null : quarantine.why(tower, step.toString());
                if (known != null) {
                    skipped.add(known);
                    continue;
                }
                LoadedRung loaded = attempt(tower, step, skipped);
                if (loaded != null) {
                    tellUnusedNpu(tower, loaded);
                    return loaded;
                }
            }
        }
        List<String> reasons = new ArrayList<>();
        for (Skipped reason : skipped) {
            reasons.add(reason.toString());
        }
        throw new McadException(McadException.Kind.TOWER, "No " + tower + " tower of " + bundle.directory
            + " runs here: " + String.join("; ", reasons),
            "Export the bundle again: every bundle from torch or ONNX ends in an ONNX CPU model.", null);
    }

    private void tellUnusedNpu(String tower, LoadedRung loaded) {
        Skipped why = null;
        for (Skipped step : loaded.skipped()) {
            if (step.step().endsWith(" by " + Tower.Provider.QNN) && (why == null || step.reason() != Reason.OTHER_CHIP)) {
                why = step;
            }
        }
        if (why != null && loaded.tower().provider != Tower.Provider.QNN) {
            LOG.info("The NPU is not used for the " + tower + " tower: " + why);
            try {
                npuListener.npuUnused(tower, why);
            } catch (RuntimeException error) { // an error in the app must not stop a search
                LOG.log(Level.WARNING, "A listener failed.", error);
            }
        }
    }

    private static Step last(Bundle.Tower tower) {
        Step last = null;
        for (Bundle.Rung rung : tower.rungs()) {
            for (Step step : steps(rung)) {
                last = step;
            }
        }
        return last;
    }

    /** The step's tower if it loads and passes its self-test; else null, with the reason added to {@code skipped}. */
    private LoadedRung attempt(String name, Step step, List<Skipped> skipped) throws IOException {
        if (step.provider() == Tower.Provider.QNN && library(QNN_LIBRARY) == null) {
            skipped.add(new Skipped(step, Reason.NO_LIBRARY, QNN_LIBRARY + " is not there"));
            return null;
        }
        Tower tower = null;
        quarantine.begin(name, step.toString());
        try {
            tower = load(step);
            double cosine = selfTest(bundle, name, tower);
            double least = Math.min(LEAST_AGREEMENT, Math.max(LEAST_PARITY, step.rung().parity()));
            if (cosine >= least) {
                LoadedRung loaded = new LoadedRung(tower, cosine, skipped);
                tower = null;
                return loaded;
            }
            skipped.add(refused(name, step, Reason.SELF_TEST, String.format(
                Locale.ROOT, "its golden-input embeddings are wrong here: cosine %.4f to the stored ones; at least "
                    + "%.4f is needed", cosine, least)));
        } catch (McadException error) {
            skipped.add(refused(name, step, Reason.FAILED, error.message));
        } finally {
            if (tower != null) {
                tower.close();
            }
            quarantine.end(name);
        }
        return null;
    }

    /** An NPU's refusal is remembered: loading a binary in vain takes seconds at each start. */
    private Skipped refused(String tower, Step step, Reason why, String detail) throws IOException {
        Skipped skipped = new Skipped(step, why, detail);
        if (step.provider() == Tower.Provider.QNN) {
            quarantine.refuse(tower, skipped);
        }
        return skipped;
    }

    /** The steps of a rung, best first; none if the app lacks its runtime. */
    public static List<Step> steps(Bundle.Rung rung) {
        List<Step> steps = new ArrayList<>();
        if (rung.runtime().equals("qnn")) {
            steps.add(new Step(rung, Tower.Provider.QNN));
        } else if (rung.runtime().equals("litert") && LiteRtTower.isThere()) {
            steps.add(new Step(rung, Tower.Provider.LITERT));
        } else if (rung.runtime().equals("onnx")) {
            // XNNPACK supports neither our types of 8-bit convolution nor MatMulInteger, so the slow nodes of an 8-bit
            // rung would run on the CPU anyway.
            if (rung.precision().equals("fp32")) {
                steps.add(new Step(rung, Tower.Provider.XNNPACK));
                steps.add(new Step(rung, Tower.Provider.CPU));
            } else {
                steps.add(new Step(rung, Saturation.saturates() ? Tower.Provider.EXACT_CPU : Tower.Provider.CPU));
            }
        }
        return steps;
    }

    /** Load one step. McadException with the reason if that fails. */
    public Tower load(Step step) throws McadException {
        if (step.provider() == Tower.Provider.LITERT) {
            return LiteRtTower.load(bundle, step.rung(), threads);
        }
        OnnxTower.Qnn qnn = null;
        if (step.provider() == Tower.Provider.QNN) {
            File library = library(QNN_LIBRARY);
            if (library == null) {
                throw new McadException(QNN_LIBRARY + " is not there",
                    "Build the app for the NPU, or with the archive that holds it.");
            }
            qnn = new OnnxTower.Qnn(library, library(QNN_PLUG_IN), bulk);
        }
        return OnnxTower.load(bundle, step.rung(), step.provider(), threads, qnn);
    }

    private File library(String name) {
        for (File folder : libraries) {
            File file = new File(folder, name);
            if (file.isFile()) {
                return file;
            }
        }
        return null;
    }

    /** The worst cosine between a tower's embeddings of its golden inputs and those stored for its rung. */
    public static double selfTest(Bundle bundle, String name, Tower tower) throws IOException {
        Npy expected = Npy.read(bundle.path(tower.rung.expected()));
        List<float[]> found = runGolden(bundle, name, tower);
        double worst = 1;
        for (int i = 0; i < found.size(); i++) {
            worst = Math.min(worst, Vectors.cosine(summary(name, found.get(i)), expected.floats(i)));
        }
        return worst;
    }

    /** What the outputs of a tower are compared by (docs/bundle.md). */
    private static float[] summary(String name, float[] output) {
        if (name.equals("detector")) {
            int side = Bundle.DETECTOR_SIDE / SQUARE;
            float[] sums = new float[side * side];
            for (int i = 0; i < output.length; i++) {
                sums[i / Bundle.DETECTOR_SIDE / SQUARE * side + i % Bundle.DETECTOR_SIDE / SQUARE] += output[i];
            }
            return sums;
        }
        if (name.equals("recognizer")) {
            int columns = Bundle.LINE_WIDTH / Bundle.LINE_STEP;
            int classes = output.length / columns;
            float[] sums = new float[columns * CLASSES];
            for (int i = 0; i < columns * classes; i++) {
                sums[i / classes * CLASSES + i % classes % CLASSES] += output[i];
            }
            return sums;
        }
        return output;
    }

    /** A tower's raw outputs for its golden inputs: of the image and text towers, embeddings. */
    public static List<float[]> runGolden(Bundle bundle, String name, Tower tower) throws IOException {
        Map<String, Npy> inputs = new LinkedHashMap<>();
        int rows = 0;
        for (Map.Entry<String, Bundle.FileRecord> input : bundle.tower(name).golden().inputs().entrySet()) {
            Npy array = Npy.read(bundle.path(input.getValue()));
            inputs.put(input.getKey(), array);
            rows = array.rows();
        }
        List<float[]> found = new ArrayList<>();
        for (int i = 0; i < rows; i++) {
            Map<String, Object> golden = new LinkedHashMap<>();
            for (Map.Entry<String, Npy> input : inputs.entrySet()) {
                golden.put(input.getKey(), name.equals("detector")
                    ? repeated(input.getValue(), i, Bundle.DETECTOR_SIDE, Bundle.DETECTOR_SIDE)
                    : name.equals("recognizer") ? repeated(input.getValue(), i, Bundle.LINE_HEIGHT, Bundle.LINE_WIDTH)
                    : input.getValue().row(i));
            }
            found.add(tower.run(golden));
        }
        return found;
    }

    /** Row {@code i} of pixels [N, 3, h, w], repeated to fill [3, height, width]. */
    private static float[] repeated(Npy array, int i, int height, int width) {
        int rows = array.shape[2];
        int columns = array.shape[3];
        float[] small = array.floats(i);
        float[] pixels = new float[3 * height * width];
        for (int at = 0; at < pixels.length; at++) {
            int row = at / width;
            pixels[at] = small[(row / height * rows + row % height % rows) * columns + at % width % columns];
        }
        return pixels;
    }
}
