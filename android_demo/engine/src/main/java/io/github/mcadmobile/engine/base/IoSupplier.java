package io.github.mcadmobile.engine.base;

import java.io.IOException;

/** A task with a result, which may throw IOException. */
public interface IoSupplier<T> {
    T get() throws IOException;
}
