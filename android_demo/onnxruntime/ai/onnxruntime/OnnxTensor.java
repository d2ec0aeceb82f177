package ai.onnxruntime;

import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import java.nio.IntBuffer;

/** The part of ONNX Runtime's class that we call, to compile a library for Maven against. */
public class OnnxTensor extends OnnxTensorLike {
    public static native OnnxTensor createTensor(OrtEnvironment environment, FloatBuffer data, long[] shape)
            throws OrtException;

    public static native OnnxTensor createTensor(OrtEnvironment environment, IntBuffer data, long[] shape)
            throws OrtException;

    public static native OnnxTensor createTensor(
            OrtEnvironment environment, ByteBuffer data, long[] shape, OnnxJavaType type) throws OrtException;

    public native FloatBuffer getFloatBuffer();

    public native IntBuffer getIntBuffer();

    @Override
    public native void close();
}
