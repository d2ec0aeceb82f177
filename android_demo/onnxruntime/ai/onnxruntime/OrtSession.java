package ai.onnxruntime;

import java.util.List;
import java.util.Map;
import java.util.Set;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public class OrtSession implements AutoCloseable {
    public native Set<String> getInputNames();

    public native Map<String, NodeInfo> getInputInfo() throws OrtException;

    public native Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException;

    @Override
    public native void close() throws OrtException;

    public static class Result implements AutoCloseable {
        public native OnnxValue get(int place);

        @Override
        public native void close();
    }

    public static class SessionOptions implements AutoCloseable {
        public enum OptLevel {
            BASIC_OPT
        }

        public native void setOptimizationLevel(OptLevel level) throws OrtException;

        public native void setInterOpNumThreads(int threads) throws OrtException;

        public native void setIntraOpNumThreads(int threads) throws OrtException;

        public native void setCPUArenaAllocator(boolean used) throws OrtException;

        public native void setSessionLogLevel(OrtLoggingLevel level) throws OrtException;

        public native void addConfigEntry(String name, String value) throws OrtException;

        public native void addExecutionProvider(List<OrtEpDevice> devices, Map<String, String> options)
            throws OrtException;

        public native void addQnn(Map<String, String> options) throws OrtException;

        public native void addXnnpack(Map<String, String> options) throws OrtException;

        @Override
        public native void close();
    }
}
