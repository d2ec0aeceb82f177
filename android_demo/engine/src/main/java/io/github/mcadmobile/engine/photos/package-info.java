@NullMarked
package io.github.mcadmobile.engine.photos;

import org.jspecify.annotations.NullMarked;
