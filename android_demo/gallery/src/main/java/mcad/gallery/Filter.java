package mcad.gallery;

import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Collections;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Among which photos a search looks: those of some folders (albums are folders, on Android), taken in a time.
 *
 * @param folders as {@link PhotoLibrary.Item#folder} names them; empty for all
 * @param fromMs the first ms since 1970 at which they were taken
 * @param untilMs the first ms that is too late
 */
public record Filter(Set<String> folders, long fromMs, long untilMs) {
    public static final Filter ALL = new Filter(Collections.emptySet(), Long.MIN_VALUE, Long.MAX_VALUE);

    /** The same in other folders. */
    public Filter in(Set<String> inFolders) {
        return new Filter(inFolders, fromMs, untilMs);
    }

    /** The same from one day to another, both whole, as days begin in a time zone; null where it has no such end. */
    public Filter taken(@Nullable LocalDate first, @Nullable LocalDate last, ZoneId zone) {
        return new Filter(folders, first == null ? Long.MIN_VALUE : start(first, zone),
            last == null ? Long.MAX_VALUE : start(last.plusDays(1), zone));
    }

    boolean isAll() {
        return folders.isEmpty() && !isTimed();
    }

    public boolean isTimed() {
        return fromMs != Long.MIN_VALUE || untilMs != Long.MAX_VALUE;
    }

    boolean passes(String folder, long takenMs) {
        return takenMs >= fromMs && takenMs < untilMs && (folders.isEmpty() || folders.contains(folder));
    }

    private static long start(LocalDate day, ZoneId zone) {
        return day.atStartOfDay(zone).toInstant().toEpochMilli();
    }
}
