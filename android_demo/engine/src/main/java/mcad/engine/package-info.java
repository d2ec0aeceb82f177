@NullMarked
package mcad.engine;

import org.jspecify.annotations.NullMarked;
