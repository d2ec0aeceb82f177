@NullMarked
package io.github.mcadmobile.engine.reading;

import org.jspecify.annotations.NullMarked;
