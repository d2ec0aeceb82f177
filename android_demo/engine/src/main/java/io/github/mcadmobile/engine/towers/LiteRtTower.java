package io.github.mcadmobile.engine.towers;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import java.io.File;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.tensorflow.lite.Interpreter;

/**
 * A tower run on the CPU by the Interpreter of LiteRT's Android library, if the app has it. Integers are quantized and
 * dequantized here with the bundle's scales, as in mcad_mobile/engine/towers/litert.py.
 */
final class LiteRtTower extends Tower {
    private final Interpreter interpreter;
    private final String signature;
    private final String[] arguments; // in the order of the rung's inputs
    private final String output;

    private LiteRtTower(Bundle.Rung rung, Interpreter interpreter) {
        super(rung, Provider.LITERT);
        this.interpreter = interpreter;
        signature = interpreter.getSignatureKeys()[0];
        arguments = interpreter.getSignatureInputs(signature).clone();
        Arrays.sort(arguments);
        output = interpreter.getSignatureOutputs(signature)[0];
    }

    static boolean isThere() {
        try {
            Class.forName("org.tensorflow.lite.Interpreter", false, LiteRtTower.class.getClassLoader());
            return true;
        } catch (ClassNotFoundException | LinkageError missing) {
            return false;
        }
    }

    /** Load a rung. McadException with LiteRT's reason if that fails. */
    static Tower load(Bundle bundle, Bundle.Rung rung, int threads) throws McadException {
        File model = bundle.path(rung.files().get(0)).toFile();
        try {
            Interpreter interpreter = new Interpreter(model, new Interpreter.Options().setNumThreads(threads));
            try {
                return new LiteRtTower(rung, interpreter);
            } catch (RuntimeException | LinkageError error) {
                interpreter.close();
                throw error;
            }
        } catch (RuntimeException | LinkageError error) {
            throw new McadException("LiteRT cannot load " + model + ": " + error.getMessage() + ".",
                "The next rung of the ladder may run.", error);
        }
    }

    @Override
    public float[] run(Map<String, ?> inputs) throws McadException {
        List<Bundle.TensorSpec> specs = rung.inputs();
        Map<String, Object> values = new HashMap<>();
        for (int i = 0; i < specs.size(); i++) {
            values.put(arguments[i], stored(specs.get(i), inputs.get(specs.get(i).name())));
        }
        Bundle.TensorSpec result = rung.outputs().get(0);
        ByteBuffer embedding = direct(result);
        try {
            interpreter.runSignature(values, Collections.singletonMap(output, embedding), signature);
        } catch (RuntimeException error) {
            throw failed(error);
        }
        embedding.rewind();
        float[] real = new float[result.count()];
        for (int i = 0; i < real.length; i++) {
            real[i] = switch (result.dtype()) {
                case "int8" -> result.real(embedding.get());
                case "int16" -> result.real(embedding.getShort());
                default -> embedding.getFloat();
            };
        }
        return real;
    }

    /** An input's first values, in its stored type and layout. */
    private static ByteBuffer stored(Bundle.TensorSpec spec, Object values) throws McadException {
        ByteBuffer buffer = direct(spec);
        int count = spec.count();
        if (values instanceof int[] ints && ints.length >= count) {
            buffer.asIntBuffer().put(ints, 0, count);
            return buffer;
        }
        if (!(values instanceof float[] floats) || floats.length < count) {
            throw notGiven(spec.name());
        }
        int channels = spec.layout().equals("NHWC") ? (int) spec.shape()[3] : 1;
        int pixels = count / channels;
        for (int i = 0; i < count; i++) {
            float value = floats[i % channels * pixels + i / channels];
            switch (spec.dtype()) {
                case "int8" -> buffer.put((byte) spec.stored(value, Byte.MIN_VALUE, Byte.MAX_VALUE));
                case "int16" -> buffer.putShort((short) spec.stored(value, Short.MIN_VALUE, Short.MAX_VALUE));
                case "int32" -> buffer.putInt(Math.round(value)); // token ids, which are whole
                case "int64" -> buffer.putLong(Math.round(value));
                default -> buffer.putFloat(value);
            }
        }
        buffer.rewind();
        return buffer;
    }

    private static ByteBuffer direct(Bundle.TensorSpec spec) {
        int bytes = switch (spec.dtype()) {
            case "int8" -> 1;
            case "int16" -> 2;
            case "int64" -> 8;
            default -> 4;
        };
        return ByteBuffer.allocateDirect(bytes * spec.count()).order(ByteOrder.nativeOrder());
    }

    @Override
    public void close() {
        interpreter.close();
    }
}
