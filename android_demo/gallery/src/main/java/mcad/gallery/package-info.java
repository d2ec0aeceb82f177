@NullMarked
package mcad.gallery;

import org.jspecify.annotations.NullMarked;
