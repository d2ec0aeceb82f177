package io.github.mcadmobile.engine.towers;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import java.util.Map;

/** A tower loaded into a runtime. Not thread-safe. */
public abstract class Tower implements AutoCloseable {
    /**
     * What runs a tower. Under XNNPACK, the CPU runs the nodes without an XNNPACK kernel; ONNX Runtime does not report
     * how many.
     */
    public enum Provider {
        QNN("QNN"),
        XNNPACK("XNNPACK, CPU"),
        CPU("CPU"),
        /** For processors on which the fast 8-bit kernels overflow: see {@link Saturation}. */
        EXACT_CPU("CPU, exact kernels"),
        /** LiteRT's own Android library, on the CPU. */
        LITERT("LiteRT, CPU");

        private final String name;

        Provider(String name) {
            this.name = name;
        }

        @Override
        public String toString() {
            return name;
        }
    }

    public final Bundle.Rung rung;
    public final Provider provider;

    Tower(Bundle.Rung rung, Provider provider) {
        this.rung = rung;
        this.provider = provider;
    }

    /**
     * Embed one input (a float[] or int[] by name for each of the rung's inputs): [dim] float32, not normalized; of a
     * reader's towers, their output, flattened.
     * McadException if the runtime fails or an input is missing.
     */
    public abstract float[] run(Map<String, ?> inputs) throws McadException;

    /** As above, for pixels [3, height, width] alone; an ONNX model of a reader takes other sizes than the rung's, too. */
    public float[] run(float[] pixels, int height, int width) throws McadException {
        return run(Map.of("pixels", pixels));
    }

    @Override
    public abstract void close();

    static McadException failed(Exception error) {
        return new McadException(McadException.Kind.TOWER, "The tower failed: " + error.getMessage() + ".",
            "Export the bundle again.", error);
    }

    static McadException notGiven(String name) {
        return new McadException("The tower's input " + name + " was not given whole.", "Export the bundle again.");
    }
}
