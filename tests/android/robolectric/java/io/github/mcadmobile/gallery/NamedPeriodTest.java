package io.github.mcadmobile.gallery;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNull;

import java.time.LocalDate;
import java.util.List;
import java.util.Locale;
import org.junit.Test;

/** Years and months in what the user types. */
public final class NamedPeriodTest {
    private static final LocalDate TODAY = LocalDate.of(2026, 3, 9);

    private static String of(String query, Locale... languages) {
        NamedPeriod named = NamedPeriod.of(query, List.of(languages), TODAY);
        return named == null ? null : named.words() + ": " + named.first() + " " + named.last();
    }

    @Test
    public void aYearOrAMonthIsAPeriod() {
        assertEquals("beach: 2023-01-01 2023-12-31", of("beach 2023", Locale.ENGLISH));
        assertEquals(": 2025-12-01 2025-12-31", of("December", Locale.ENGLISH));
        assertEquals("snow: 2026-02-01 2026-02-28", of(" snow  in february ", Locale.ENGLISH));
        assertEquals("a dog on the beach: 2024-02-01 2024-02-29", of("a dog on the beach in February, 2024", Locale.ENGLISH));
        assertEquals("Berge: 2022-08-01 2022-08-31", of("Berge im August 2022", Locale.GERMAN, Locale.ENGLISH));
        assertEquals("playa: 2022-07-01 2022-07-31", of("playa en julio de 2022", new Locale("es")));
        assertEquals("plage: 2025-08-01 2025-08-31", of("plage en août", Locale.FRENCH));
        assertEquals("海滩: 2023-12-01 2023-12-31", of("2023年12月 海滩", Locale.CHINESE));
        assertEquals("海滩: 2023-01-01 2023-12-31", of("海滩 2023年", Locale.CHINESE));
    }

    @Test
    public void otherWordsAndNumbersAreNone() {
        for (String query : new String[] {"a cup of coffee", "bus 1985", "2027", "route 66", "", "a march of penguins", "12345"}) {
            assertNull(query, of(query, Locale.ENGLISH));
        }
        assertEquals("penguins: 2021-03-01 2021-03-31", of("penguins March 2021", Locale.ENGLISH));
        assertEquals("2022: 2021-01-01 2021-12-31", of("2021 2022", Locale.ENGLISH));
    }
}
