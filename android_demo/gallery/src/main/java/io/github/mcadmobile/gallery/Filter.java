package io.github.mcadmobile.gallery;

import java.time.LocalDate;
import java.time.ZoneId;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Restricts a search to some folders (Android's albums are folders), to a period, to photos or videos, and to a place.
 *
 * @param folders as {@link PhotoLibrary.Item#folder} names them; empty for all
 * @param fromMs start of the period, inclusive, in ms since 1970
 * @param untilMs end of the period, exclusive
 * @param place the name of a city, region or country where photos were taken; empty for all
 */
public record Filter(Set<String> folders, long fromMs, long untilMs, Kind kind, String place) {
    /** What is searched. */
    public enum Kind { ANY, PHOTO, VIDEO }

    public static final Filter ALL = new Filter(Collections.emptySet(), Long.MIN_VALUE, Long.MAX_VALUE);

    /** Photos and videos. */
    public Filter(Set<String> folders, long fromMs, long untilMs) {
        this(folders, fromMs, untilMs, Kind.ANY, "");
    }

    /** This filter with other folders; none for all. */
    public Filter inFolders(Collection<String> names) {
        return new Filter(new HashSet<>(names), fromMs, untilMs, kind, place);
    }

    /** This filter for photos or videos only. */
    public Filter of(Kind only) {
        return new Filter(folders, fromMs, untilMs, only, place);
    }

    /** This filter for photos of a place only, of those whose places are known; an empty name for all. */
    public Filter at(String name) {
        return new Filter(folders, fromMs, untilMs, kind, name);
    }

    /** This filter from {@code first} to {@code last}, whole days in {@code zone}; null leaves that end open. */
    public Filter taken(@Nullable LocalDate first, @Nullable LocalDate last, ZoneId zone) {
        return new Filter(folders, first == null ? Long.MIN_VALUE : start(first, zone),
            last == null ? Long.MAX_VALUE : start(last.plusDays(1), zone), kind, place);
    }

    boolean isAll() {
        return folders.isEmpty() && !isTimed() && kind == Kind.ANY && place.isEmpty();
    }

    public boolean isTimed() {
        return fromMs != Long.MIN_VALUE || untilMs != Long.MAX_VALUE;
    }

    boolean passes(String folder, long takenMs, boolean video) {
        return (kind == Kind.ANY || video == (kind == Kind.VIDEO)) && takenMs >= fromMs && takenMs < untilMs && (folders.isEmpty() || folders.contains(folder));
    }

    private static long start(LocalDate day, ZoneId zone) {
        return day.atStartOfDay(zone).toInstant().toEpochMilli();
    }
}
