package mcad.engine.gallery;

import java.io.IOException;
import java.nio.file.Path;
import mcad.engine.Bundle;
import mcad.engine.BundleInstaller;
import mcad.engine.Quarantine;
import mcad.engine.SearchEngine;
import mcad.engine.index.PhotoIndex;

/** What lies in an app's folder: the bundle, the rungs that are left out, the index. Each is made when first asked for. */
final class Installed {
    private final PhotoSearch.Setup setup;
    private Bundle bundle;
    private Quarantine quarantine;

    Installed(PhotoSearch.Setup setup) {
        this.setup = setup;
    }

    /** Copied to where a runtime can open it (megabytes). */
    synchronized Bundle bundle() throws IOException {
        if (bundle == null) {
            Bundle installed = BundleInstaller.install(setup.bundle(), setup.directory().resolve("bundle"));
            quarantine = Quarantine.open(setup.directory().resolve("rungs"),
                setup.environment().get() + " " + installed.studentSha256 + " " + installed.created);
            bundle = installed;
        }
        return bundle;
    }

    synchronized Quarantine quarantine() throws IOException {
        bundle();
        return quarantine;
    }

    /** The caller closes it. */
    SearchEngine newEngine(int threads) throws IOException {
        return new SearchEngine(bundle(), threads, setup.libraries(), quarantine());
    }

    /** One index for each student: embeddings of two do not compare. */
    Path indexDirectory() throws IOException {
        return setup.directory().resolve("index-" + bundle().studentSha256.substring(0, 16));
    }

    PhotoIndex openIndex() throws IOException {
        Bundle made = bundle();
        return PhotoIndex.openOrCreate(indexDirectory(), made.dim, made.studentName, made.studentSha256);
    }

    /** Start over with an empty index. */
    void recreateIndex() throws IOException {
        Bundle made = bundle();
        PhotoIndex.recreate(indexDirectory(), made.dim, made.studentName, made.studentSha256).close();
    }
}
