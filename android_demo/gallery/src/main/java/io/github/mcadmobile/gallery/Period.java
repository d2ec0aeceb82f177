package io.github.mcadmobile.gallery;

import java.time.LocalDate;
import java.time.ZoneId;

/** Common periods, relative to today. */
public enum Period {
    ANY, WEEK, MONTH, THIS_YEAR, LAST_YEAR;

    /** The filter with this period in place of its own. */
    public Filter of(Filter filter, LocalDate today, ZoneId zone) {
        return switch (this) {
            case ANY -> filter.taken(null, null, zone);
            case WEEK -> filter.taken(today.minusDays(6), null, zone);
            case MONTH -> filter.taken(today.minusDays(29), null, zone);
            case THIS_YEAR -> filter.taken(today.withDayOfYear(1), null, zone);
            case LAST_YEAR -> filter.taken(
                today.withDayOfYear(1).minusYears(1), today.withDayOfYear(1).minusDays(1), zone);
        };
    }
}
