@NullMarked
package mcad.platform;

import org.jspecify.annotations.NullMarked;
