package io.github.mcadmobile.engine.towers;

import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.nio.ByteBuffer;
import java.nio.IntBuffer;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;

/** Whether ONNX Runtime's 8-bit kernels overflow on this processor: see mcad_mobile/engine/towers/onnx.py. */
public final class Saturation {
    /** An ONNX model: MatMulInteger of "a" [M, 64] uint8 with 127s [64, 32] int8; the same bytes as in Python. */
    private static final String PRODUCTS =
        "CAgSADqSAQozCgVzaGFwZRIBYiIPQ29uc3RhbnRPZlNoYXBlKhYKBXZhbHVlKgoIARADKgF/QgF2oAEEChsKAWEKAWIS"
            + "BHN1bXMiDU1hdE11bEludGVnZXISBHN1bXMqDwgCEAc6AkAgQgVzaGFwZVoRCgFhEgwKCggCEgYKAAoCCEBiFAoEc3Vt"
            + "cxIMCgoIBhIGCgAKAgggQgQKABAN";
    private static final int ROWS = 5;
    private static final int TERMS = 64;
    private static final int EXACT_SUM = TERMS * 255 * 127;

    private static Boolean found;

    private Saturation() {}

    /**
     * Whether 8-bit products are summed in 16 bits, which overflow: true on x86 processors without VNNI (desktops,
     * emulators, CI). True, and so the exact kernels, if it cannot be measured.
     */
    static synchronized boolean saturates() {
        if (found == null) {
            try {
                found = largestSumsAreWrong();
            } catch (OrtException | LinkageError unknown) { // OnnxTower reports a missing library
                found = true;
            }
        }
        return found;
    }

    private static boolean largestSumsAreWrong() throws OrtException {
        byte[] largest = new byte[ROWS * TERMS];
        Arrays.fill(largest, (byte) 255);
        ByteBuffer input = ByteBuffer.allocateDirect(largest.length);
        input.put(largest).rewind();
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions()) {
            options.setIntraOpNumThreads(1);
            options.setCPUArenaAllocator(false);
            try (OrtSession session = environment.createSession(Base64.getDecoder().decode(PRODUCTS), options);
                    OnnxTensor a = OnnxTensor.createTensor(
                        environment, input, new long[] {ROWS, TERMS}, OnnxJavaType.UINT8);
                    OrtSession.Result result = session.run(Collections.singletonMap("a", a))) {
                IntBuffer sums = ((OnnxTensor) result.get(0)).getIntBuffer();
                while (sums.hasRemaining()) {
                    if (sums.get() != EXACT_SUM) {
                        return true;
                    }
                }
                return false;
            }
        }
    }
}
