@NullMarked
package io.github.mcadmobile.engine.words;

import org.jspecify.annotations.NullMarked;
