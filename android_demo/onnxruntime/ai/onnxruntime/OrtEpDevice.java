package ai.onnxruntime;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public final class OrtEpDevice {
    public native String getEpName();
}
