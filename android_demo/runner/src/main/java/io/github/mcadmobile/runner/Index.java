package io.github.mcadmobile.runner;

import ai.onnxruntime.OrtEnvironment;
import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.BundleInstaller;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import io.github.mcadmobile.engine.base.Vectors;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.photos.PhotoDecoder;
import io.github.mcadmobile.engine.towers.Tower;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** Mode index: decodes and embeds each photo, then builds an index of all. */
final class Index {
    private static final String[] DECODERS = {
        "io.github.mcadmobile.platform.BitmapDecoder", "io.github.mcadmobile.desktop.ImageIoDecoder"
    };
    private static final double NS_PER_MS = 1e6;

    private final JsonFields spec;

    Index(JsonFields spec) {
        this.spec = spec;
    }

    Map<String, Object> run() throws IOException {
        PhotoDecoder decoder = decoder();
        if (decoder == null) {
            return JsonFields.of("unsupported", "no decoder of photos runs here outside an app");
        }
        Steps steps = new Steps();
        steps.take("process start");
        OrtEnvironment.getEnvironment();
        steps.take("runtime loaded");
        Bundle bundle = Bundle.load(Paths.get(spec.string("bundle")), false);
        Tower tower = Rungs.load(bundle, "image", spec);
        steps.take("image tower loaded");
        List<String> photos = spec.list("photos", String.class);
        if (photos.isEmpty()) {
            throw spec.wrong("photos", "at least one");
        }
        embed(bundle, tower, decoder, photos.get(0));
        Steps.announce("timing");
        List<Object> decode = new ArrayList<>();
        List<Object> image = new ArrayList<>();
        for (String photo : photos) {
            long started = System.nanoTime();
            float[] pixels = bundle.preprocess.pixels(decoder, () -> Files.newInputStream(Paths.get(photo)));
            long decoded = System.nanoTime();
            tower.run(Collections.singletonMap("pixels", pixels));
            decode.add((decoded - started) / NS_PER_MS);
            image.add((System.nanoTime() - decoded) / NS_PER_MS);
        }
        double seconds = build(bundle, tower, decoder, photos);
        steps.take("after " + photos.size() + " photos");
        return JsonFields.of("steps", steps.taken, "rung", Rungs.summary(tower.rung), "provider", tower.provider.toString(),
            "photos", photos.size(), "photos_per_s", photos.size() / seconds, "samples_ms",
            JsonFields.of("decode", decode, "image", image));
    }

    private double build(Bundle bundle, Tower tower, PhotoDecoder decoder, List<String> photos) throws IOException {
        Path directory = Paths.get(spec.string("scratch")).resolve("index");
        long started = System.nanoTime();
        try (PhotoIndex index = PhotoIndex.openOrCreate(
                directory, bundle.dim, bundle.studentName, bundle.imageSha256);
                IndexWriter writer = index.writer()) {
            for (String photo : photos) {
                writer.add(photo, embed(bundle, tower, decoder, photo), 0, 0);
            }
            writer.commit();
        }
        double seconds = (System.nanoTime() - started) / 1e9;
        BundleInstaller.deleteTree(directory);
        return seconds;
    }

    private static float[] embed(Bundle bundle, Tower tower, PhotoDecoder decoder, String photo) throws IOException {
        float[] pixels = bundle.preprocess.pixels(decoder, () -> Files.newInputStream(Paths.get(photo)));
        return Vectors.normalized(tower.run(Collections.singletonMap("pixels", pixels)));
    }

    /** Android's decoder or the JVM's, whichever works here; null if neither. */
    private PhotoDecoder decoder() throws McadException {
        List<String> photos = spec.list("photos", String.class);
        for (String name : DECODERS) {
            try {
                PhotoDecoder decoder = (PhotoDecoder) Class.forName(name).getDeclaredConstructor().newInstance();
                if (!photos.isEmpty()) {
                    decoder.decode(() -> Files.newInputStream(Paths.get(photos.get(0))), 1).close();
                }
                return decoder;
            } catch (ReflectiveOperationException | LinkageError notHere) {
                continue;
            } catch (IOException broken) {
                throw new McadException(photos.get(0) + " cannot be decoded: "
                    + (broken instanceof McadException known ? known.message : broken + "."),
                    "Check that the photo is whole, or give the spec others.", broken);
            }
        }
        return null;
    }
}
