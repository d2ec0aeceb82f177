package org.tensorflow.lite;

import java.io.File;
import java.util.Map;

/** The part of LiteRT's class that we call, to compile against. */
public final class Interpreter implements AutoCloseable {
    public Interpreter(File model, Options options) {
        throw new UnsupportedOperationException(model + " " + options);
    }

    public native String[] getSignatureKeys();

    public native String[] getSignatureInputs(String key);

    public native String[] getSignatureOutputs(String key);

    public native void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String key);

    @Override
    public native void close();

    public static class Options {
        public native Options setNumThreads(int threads);
    }
}
