package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Decodes on a separate thread, which is abandoned if native code hangs, so that the run can go on. */
final class TimedDecoder implements Closeable {
    /** If Android freezes the process while it waits, only one slice passes. */
    private static final long SLICE_MS = 1000;

    private final Device device;
    private ExecutorService thread;

    TimedDecoder(Device device) {
        this.device = device;
    }

    /** Do {@code work}. TimeoutException if that takes longer than {@link Device#decodingMs}. */
    <T> T run(Callable<T> work) throws IOException, TimeoutException {
        if (thread == null) {
            thread = Executors.newSingleThreadExecutor(device.threads());
        }
        Future<T> done = thread.submit(work);
        try {
            return await(done);
        } catch (TimeoutException hangs) {
            close();
            thread = null;
            throw hangs;
        } catch (ExecutionException error) {
            if (error.getCause() instanceof Error fatal) {
                throw fatal;
            }
            throw error.getCause() instanceof IOException io ? io
                : McadException.unforeseen(error.getCause());
        }
    }

    /** Wait through interrupts, which do not concern the photo, and restore the flag for the caller. */
    private <T> T await(Future<T> done) throws ExecutionException, TimeoutException {
        long leftMs = device.decodingMs();
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return done.get(Math.min(leftMs, SLICE_MS), TimeUnit.MILLISECONDS);
                } catch (TimeoutException slow) {
                    leftMs -= SLICE_MS;
                    if (leftMs <= 0) {
                        throw slow;
                    }
                } catch (InterruptedException later) {
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public void close() {
        if (thread != null) {
            thread.shutdownNow();
        }
    }
}
