package ai.onnxruntime;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public class OrtException extends Exception {
    private static final long serialVersionUID = 1;

    public OrtException(String message) {
        super(message);
    }
}
