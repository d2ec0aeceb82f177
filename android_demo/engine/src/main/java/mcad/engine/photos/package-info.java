@NullMarked
package mcad.engine.photos;

import org.jspecify.annotations.NullMarked;
