package ai.onnxruntime;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public interface OnnxValue extends AutoCloseable {
    @Override
    void close();
}
