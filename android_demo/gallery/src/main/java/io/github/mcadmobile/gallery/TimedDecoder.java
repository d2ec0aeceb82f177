package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.photos.Preprocess;
import java.io.Closeable;
import java.io.IOException;
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

    private final Preprocess preprocess;
    private final PhotoDecoder decoder;
    private final Device device;
    private ExecutorService thread;

    TimedDecoder(Preprocess preprocess, PhotoDecoder decoder, Device device) {
        this.preprocess = preprocess;
        this.decoder = decoder;
        this.device = device;
    }

    /** The pixels of a photo. TimeoutException if that takes longer than {@link Device#decodingMs}. */
    float[] pixels(PhotoDecoder.Source source) throws IOException, TimeoutException {
        if (thread == null) {
            thread = Executors.newSingleThreadExecutor(device.threads());
        }
        Future<float[]> pixels = thread.submit(() -> preprocess.pixels(decoder, source));
        try {
            return await(pixels);
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
    private float[] await(Future<float[]> pixels) throws ExecutionException, TimeoutException {
        long leftMs = device.decodingMs();
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return pixels.get(Math.min(leftMs, SLICE_MS), TimeUnit.MILLISECONDS);
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
