@NullMarked
package io.github.mcadmobile.platform;

import org.jspecify.annotations.NullMarked;
