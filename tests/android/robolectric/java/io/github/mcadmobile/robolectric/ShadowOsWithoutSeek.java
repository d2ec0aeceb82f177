package io.github.mcadmobile.robolectric;

import android.system.ErrnoException;
import android.system.Os;
import android.system.OsConstants;
import java.io.FileDescriptor;
import org.robolectric.annotation.Implementation;
import org.robolectric.annotation.Implements;

/**
 * From Android 15 on Robolectric's ImageDecoder reads no open file. A file that has no positions is read as a stream by
 * Android itself, and that works.
 */
@Implements(Os.class)
public final class ShadowOsWithoutSeek {
    private ShadowOsWithoutSeek() {}

    @Implementation
    protected static long lseek(FileDescriptor file, long offset, int from) throws ErrnoException {
        throw new ErrnoException("lseek", OsConstants.ESPIPE);
    }
}
