package io.github.mcadmobile.gallery;

import java.time.LocalDate;
import java.time.Month;
import java.time.YearMonth;
import java.time.format.TextStyle;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * A year or a month that a query names: "beach 2023", "snow in December", "2023年12月".
 *
 * @param words the query without it
 * @param month null if a whole year is named
 */
public record NamedPeriod(String words, int year, @Nullable Month month) {
    private static final int FIRST_YEAR = 1990;
    /** Months that are other words too: they need a year beside them. */
    private static final Set<String> OTHER_WORDS = Set.of("march", "may", "mars", "mayo");
    private static final Set<String> PREPOSITIONS =
        Set.of("in", "of", "from", "im", "vom", "aus", "en", "de", "del", "du", "au");
    private static final Pattern CHINESE = Pattern.compile("(?:(\\d{4})年)?(?:(\\d{1,2})月)?");

    /** The period of a query in one of these languages, as of a day; null if it names none. */
    public static @Nullable NamedPeriod of(String query, Collection<Locale> languages, LocalDate today) {
        List<String> words = new ArrayList<>(Arrays.asList(query.trim().split("\\s+")));
        int year = 0;
        Month month = null;
        for (int i = 0; i < words.size(); i++) {
            String word = words.get(i).replaceAll("[,.;]", "");
            Matcher chinese = CHINESE.matcher(word);
            boolean isChinese = !word.isEmpty() && chinese.matches();
            int asYear = year(isChinese ? chinese.group(1) : word, today);
            Month asMonth = isChinese ? month(chinese.group(2)) : month(word, languages);
            boolean repeats = asYear != 0 && year != 0 || asMonth != null && month != null;
            if (asYear == 0 && asMonth == null || repeats) {
                continue;
            }
            year = asYear == 0 ? year : asYear;
            month = asMonth == null ? month : asMonth;
            words.remove(i--);
            while (i >= 0 && PREPOSITIONS.contains(words.get(i).toLowerCase(Locale.ROOT))) {
                words.remove(i--);
            }
        }
        boolean isOther = year == 0 && month != null
            && Arrays.stream(query.toLowerCase(Locale.ROOT).split("[\\s,.;]+")).anyMatch(OTHER_WORDS::contains);
        if (year == 0 && month == null || isOther) {
            return null;
        }
        boolean isAhead = month != null && month.getValue() > today.getMonthValue();
        return new NamedPeriod(
            String.join(" ", words), year != 0 ? year : isAhead ? today.getYear() - 1 : today.getYear(), month);
    }

    private static int year(@Nullable String word, LocalDate today) {
        int year = word != null && word.matches("\\d{4}") ? Integer.parseInt(word) : 0;
        return year >= FIRST_YEAR && year <= today.getYear() ? year : 0;
    }

    private static @Nullable Month month(@Nullable String number) {
        int month = number == null ? 0 : Integer.parseInt(number);
        return month >= 1 && month <= 12 ? Month.of(month) : null;
    }

    private static @Nullable Month month(String word, Collection<Locale> languages) {
        for (Locale language : languages) {
            for (Month month : Month.values()) {
                if (word.equalsIgnoreCase(month.getDisplayName(TextStyle.FULL, language))) {
                    return month;
                }
            }
        }
        return null;
    }

    public LocalDate first() {
        return LocalDate.of(year, month == null ? 1 : month.getValue(), 1);
    }

    public LocalDate last() {
        return month == null ? LocalDate.of(year, 12, 31) : YearMonth.of(year, month).atEndOfMonth();
    }
}
