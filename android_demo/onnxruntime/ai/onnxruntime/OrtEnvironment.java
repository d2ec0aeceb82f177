package ai.onnxruntime;

import java.util.List;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public final class OrtEnvironment implements AutoCloseable {
    public static native OrtEnvironment getEnvironment();

    public native OrtSession createSession(String path, OrtSession.SessionOptions options) throws OrtException;

    public native OrtSession createSession(byte[] model, OrtSession.SessionOptions options) throws OrtException;

    public native void registerExecutionProviderLibrary(String name, String path) throws OrtException;

    public native List<OrtEpDevice> getEpDevices() throws OrtException;

    @Override
    public native void close();
}
