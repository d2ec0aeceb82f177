@NullMarked
package io.github.mcadmobile.engine;

import org.jspecify.annotations.NullMarked;
