package io.github.mcadmobile.platform;

import io.github.mcadmobile.engine.BundleInstaller;

/**
 * Implemented by an Application whose bundle is not in its assets, but in a file that it downloaded or in an asset pack:
 * see {@link BundleInstaller#zip} and {@link BundleInstaller#folder}. Until it is there, searches and runs fail with an
 * error of kind BUNDLE.
 */
public interface BundleProvider {
    BundleInstaller.Source bundle();
}
