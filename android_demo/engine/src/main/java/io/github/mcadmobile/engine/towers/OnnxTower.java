package io.github.mcadmobile.engine.towers;

import ai.onnxruntime.NodeInfo;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtEpDevice;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtLoggingLevel;
import ai.onnxruntime.OrtSession;
import ai.onnxruntime.TensorInfo;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** A tower run by ONNX Runtime. */
final class OnnxTower extends Tower {
    private static final String MASK = "attention_mask";
    private static final String POOLING = "pooling";
    private static final int FEWEST_TOKENS = 2;

    private final OrtSession session;
    /** Whether texts of any length are accepted: padding costs as much as words do. */
    private final boolean anyLength;

    private OnnxTower(Bundle.Rung rung, Provider provider, OrtSession session) throws OrtException {
        super(rung, provider);
        this.session = session;
        boolean open = false;
        for (NodeInfo input : session.getInputInfo().values()) {
            for (long size : ((TensorInfo) input.getInfo()).getShape()) {
                open |= size < 0;
            }
        }
        this.anyLength = open && session.getInputNames().contains(MASK);
    }

    /**
     * Load a rung. McadException with ONNX Runtime's reason if that fails.
     *
     * @param qnn for {@link Provider#QNN}
     */
    static Tower load(Bundle bundle, Bundle.Rung rung, Provider provider, int threads, @Nullable Qnn qnn)
            throws McadException {
        String path = bundle.path(rung.files().get(0)).toString();
        try (OrtSession.SessionOptions options = options(provider, threads, qnn)) {
            OrtSession session = session(path, provider, options);
            try {
                return new OnnxTower(rung, provider, session);
            } catch (OrtException | RuntimeException error) {
                session.close();
                throw error;
            }
        } catch (OrtException | LinkageError error) {
            throw new McadException(
                "ONNX Runtime cannot load " + path + " with " + provider + ": " + error.getMessage() + ".",
                "The next rung of the ladder may run.", error);
        }
    }

    /** Open a model. In exact kernels, it may have to do without some fusions: see mcad_mobile/engine/towers/onnx.py. */
    private static OrtSession session(String path, Provider provider, OrtSession.SessionOptions options)
            throws OrtException {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try {
            return environment.createSession(path, options);
        } catch (OrtException error) {
            if (provider != Provider.EXACT_CPU) {
                throw error;
            }
            options.setOptimizationLevel(OrtSession.SessionOptions.OptLevel.BASIC_OPT);
            return environment.createSession(path, options);
        }
    }

    /**
     * How QNN runs a tower.
     *
     * @param library libQnnHtp.so
     * @param plugIn the provider as a library; null if it is built into ONNX Runtime
     * @param bulk whether to ask for a speed that the phone can sustain, not for a burst
     */
    record Qnn(File library, @Nullable File plugIn, boolean bulk) {
        private static final String NAME = "QNN";

        Map<String, String> settings() {
            return Map.of("backend_path", library.getPath(), "htp_performance_mode",
                bulk ? "sustained_high_performance" : "burst");
        }

        void addTo(OrtSession.SessionOptions options) throws OrtException {
            if (plugIn == null) {
                options.addQnn(settings());
            } else {
                options.addExecutionProvider(devices(plugIn), settings());
            }
        }

        /** A library can be registered once. */
        private static synchronized List<OrtEpDevice> devices(File plugIn) throws OrtException {
            OrtEnvironment environment = OrtEnvironment.getEnvironment();
            List<OrtEpDevice> devices = devices(environment);
            if (devices.isEmpty()) {
                environment.registerExecutionProviderLibrary(NAME, plugIn.getPath());
                devices = devices(environment);
            }
            if (devices.isEmpty()) {
                throw new OrtException(plugIn + " offers no NPU");
            }
            return devices;
        }

        private static List<OrtEpDevice> devices(OrtEnvironment environment) throws OrtException {
            List<OrtEpDevice> devices = new ArrayList<>(environment.getEpDevices());
            devices.removeIf(device -> !device.getEpName().contains(NAME));
            return devices;
        }
    }

    /** A provider's session options. The caller closes them. */
    static OrtSession.SessionOptions options(Provider provider, int threads, @Nullable Qnn qnn) throws OrtException {
        OrtSession.SessionOptions options = new OrtSession.SessionOptions();
        try {
            // XNNPACK has its own threads; its documentation advises one for ONNX Runtime, to avoid contention.
            options.setIntraOpNumThreads(provider == Provider.XNNPACK ? 1 : threads);
            options.setInterOpNumThreads(1);
            // Spinning while waiting for work warms the phone and gains microseconds.
            options.addConfigEntry("session.intra_op.allow_spinning", "0");
            // Prefer low memory to the last millisecond: an arena would keep memory after a run.
            options.setCPUArenaAllocator(false);
            options.setSessionLogLevel(OrtLoggingLevel.ORT_LOGGING_LEVEL_FATAL);
            // The fused node is slower: see mcad_mobile/engine/towers/onnx.py.
            options.addConfigEntry("optimization.disable_specified_optimizers", "SkipLayerNormFusion");
            if (provider == Provider.EXACT_CPU) {
                options.addConfigEntry("session.x64quantprecision", "1");
            } else if (provider == Provider.QNN) {
                options.addConfigEntry("session.disable_cpu_ep_fallback", "1");
                qnn.addTo(options);
            } else if (provider == Provider.XNNPACK) {
                options.addXnnpack(Collections.singletonMap("intra_op_num_threads", Integer.toString(threads)));
            }
            return options;
        } catch (OrtException | LinkageError error) {
            options.close();
            throw error;
        }
    }

    @Override
    public float[] run(Map<String, ?> inputs) throws McadException {
        int tokens = anyLength ? tokens(inputs) : 0;
        Map<String, long[]> shapes = new HashMap<>();
        for (Bundle.TensorSpec spec : rung.inputs()) {
            long[] shape = spec.shape().clone();
            if (anyLength) {
                shape[1] = tokens;
            }
            shapes.put(spec.name(), shape);
        }
        return run(inputs, shapes);
    }

    @Override
    public float[] run(float[] pixels, int height, int width) throws McadException {
        return run(Map.of("pixels", pixels), Map.of("pixels", new long[] {1, 3, height, width}));
    }

    private float[] run(Map<String, ?> inputs, Map<String, long[]> shapes) throws McadException {
        Map<String, OnnxTensor> tensors = new LinkedHashMap<>();
        try {
            for (Map.Entry<String, long[]> input : shapes.entrySet()) {
                tensors.put(input.getKey(), tensor(input.getKey(), input.getValue(), inputs.get(input.getKey())));
            }
            try (OrtSession.Result result = session.run(tensors)) {
                return ((OnnxTensor) result.get(0)).getFloatBuffer().array(); // the buffer is a copy, on the heap
            }
        } catch (OrtException | ClassCastException error) {
            throw failed(error);
        } finally {
            for (OnnxTensor tensor : tensors.values()) {
                tensor.close();
            }
        }
    }

    /** The length up to the last token that is attended to or pooled. */
    private static int tokens(Map<String, ?> inputs) throws McadException {
        int tokens = FEWEST_TOKENS;
        for (String name : new String[] {MASK, POOLING}) {
            if (!(inputs.get(name) instanceof float[] weights)) {
                throw notGiven(name);
            }
            for (int i = tokens; i < weights.length; i++) {
                tokens = weights[i] > 0 ? i + 1 : tokens;
            }
        }
        return tokens;
    }

    /** An input's first values, as many as its shape holds. */
    private static OnnxTensor tensor(String name, long[] shape, Object values) throws OrtException, McadException {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        int count = 1;
        for (long size : shape) {
            count *= (int) size;
        }
        if (values instanceof float[] floats && floats.length >= count) {
            FloatBuffer buffer = direct(count).asFloatBuffer();
            buffer.put(floats, 0, count).rewind();
            return OnnxTensor.createTensor(environment, buffer, shape);
        }
        if (values instanceof int[] ints && ints.length >= count) {
            IntBuffer buffer = direct(count).asIntBuffer();
            buffer.put(ints, 0, count).rewind();
            return OnnxTensor.createTensor(environment, buffer, shape);
        }
        throw notGiven(name);
    }

    private static ByteBuffer direct(int count) {
        return ByteBuffer.allocateDirect(4 * count).order(ByteOrder.nativeOrder());
    }

    @Override
    public void close() {
        try {
            session.close();
        } catch (OrtException ignored) {
            // A session that fails to close cannot be helped.
        }
    }
}
