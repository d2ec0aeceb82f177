package io.github.mcadmobile.robolectric;

import org.junit.runners.model.FrameworkMethod;
import org.junit.runners.model.InitializationError;
import org.robolectric.RobolectricTestRunner;
import org.robolectric.internal.bytecode.InstrumentationConfiguration;

/** Robolectric's runner, but that ONNX Runtime is one for all: its native library can be loaded once. */
public final class AppRunner extends RobolectricTestRunner {
    public AppRunner(Class<?> test) throws InitializationError {
        super(test);
    }

    @Override
    protected InstrumentationConfiguration createClassLoaderConfig(FrameworkMethod method) {
        return new InstrumentationConfiguration.Builder(super.createClassLoaderConfig(method))
            .doNotAcquirePackage("ai.onnxruntime.").build();
    }
}
