@NullMarked
package io.github.mcadmobile.gallery;

import org.jspecify.annotations.NullMarked;
