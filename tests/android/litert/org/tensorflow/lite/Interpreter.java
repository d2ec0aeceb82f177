package org.tensorflow.lite;

import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Stands for LiteRT's on a JVM: a process of Python runs the model by LiteRT itself. */
public final class Interpreter implements AutoCloseable {
    private static final String OUTPUT = "output_0";

    private final File model;

    public Interpreter(File model, Options options) {
        this.model = model;
    }

    public String[] getSignatureKeys() {
        return new String[] {"serving_default"};
    }

    public String[] getSignatureInputs(String key) {
        try {
            Process process = python(model.getPath()).start();
            return new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip().split(" ");
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static ProcessBuilder python(String... arguments) {
        List<String> command = new ArrayList<>(List.of(System.getenv("MCAD_TEST_PYTHON"), System.getenv("MCAD_TEST_SCRIPT")));
        command.addAll(List.of(arguments));
        return new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT);
    }

    public String[] getSignatureOutputs(String key) {
        return new String[] {OUTPUT};
    }

    public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key) {
        try {
            Path folder = Files.createTempDirectory("litert");
            for (Map.Entry<String, Object> input : inputs.entrySet()) {
                ByteBuffer buffer = ((ByteBuffer) input.getValue()).duplicate();
                byte[] bytes = new byte[buffer.remaining()];
                buffer.get(bytes);
                Files.write(folder.resolve(input.getKey()), bytes);
            }
            Process process = python(model.getPath(), folder.toString())
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
            if (process.waitFor() != 0) {
                throw new IllegalArgumentException("run_signature.py failed");
            }
            ((ByteBuffer) outputs.get(OUTPUT)).put(Files.readAllBytes(folder.resolve("output")));
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void close() {}

    /** How a model is run. */
    public static class Options {
        public Options setNumThreads(int threads) {
            return this;
        }
    }
}
