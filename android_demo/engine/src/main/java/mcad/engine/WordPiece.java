package mcad.engine;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * WordPiece as BERT defines it (Devlin et al., 2019): control characters dropped, ideographs apart, lower case without
 * accents, split at space and punctuation, then the longest pieces that the vocabulary holds.
 */
final class WordPiece implements Tokenizer {
    private static final int LONGEST_WORD = 100;
    private static final String CONTINUED = "##";

    private final Bundle.TokenizerSpec spec;
    private final Map<String, Integer> vocabulary = new HashMap<>();
    private final int unknown;
    private final int start;
    private final int end;

    WordPiece(Bundle.TokenizerSpec spec, Path file) throws IOException {
        this.spec = spec;
        unknown = Tokenizer.special(spec, "[UNK]");
        start = Tokenizer.special(spec, "[CLS]");
        end = Tokenizer.special(spec, "[SEP]");
        try (BufferedReader lines = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                vocabulary.put(line, vocabulary.size());
            }
        }
    }

    @Override
    public Tokens tokenize(String text) throws McadException {
        Tokenizer.refuseEmpty(text);
        int[] codes = normalized(text).codePoints().toArray();
        Ids ids = new Ids();
        int from = 0;
        for (int i = 0; i <= codes.length; i++) {
            boolean ends = i == codes.length || Unicode.isSpace(codes[i]);
            boolean stands = !ends && Unicode.isPunctuation(codes[i]);
            if (ends || stands) {
                pieces(codes, from, i, ids);
                from = i + 1;
            }
            if (stands) {
                pieces(codes, i, i + 1, ids);
            }
        }
        return Tokenizer.framed(ids.values, ids.count, start, end, spec);
    }

    private String normalized(String text) {
        StringBuilder clean = new StringBuilder(text.length() + 8);
        text.codePoints().forEach(c -> {
            if (c == 0 || c == 0xFFFD || Unicode.isControl(c)) {
                return;
            }
            if (Unicode.isSpace(c)) {
                clean.append(' ');
            } else if (Unicode.isIdeograph(c)) {
                clean.append(' ').appendCodePoint(c).append(' ');
            } else {
                clean.appendCodePoint(c);
            }
        });
        if (!spec.lowercase()) {
            return clean.toString();
        }
        StringBuilder lower = new StringBuilder(clean.length());
        Normalizer.normalize(clean, Normalizer.Form.NFD).codePoints().forEach(c -> {
            if (!Unicode.isNonspacingMark(c)) {
                // One by one: a whole word's lower case has a rule for the last sigma, and BERT has not.
                lower.append(new String(Character.toChars(c)).toLowerCase(Locale.ROOT));
            }
        });
        return lower.toString();
    }

    private void pieces(int[] codes, int from, int to, Ids ids) {
        if (from == to) {
            return;
        }
        if (to - from > LONGEST_WORD) {
            ids.add(unknown);
            return;
        }
        int before = ids.count;
        int at = from;
        while (at < to) {
            int stop = to;
            Integer id = null;
            for (; stop > at; stop--) {
                String piece = new String(codes, at, stop - at);
                id = vocabulary.get(at > from ? CONTINUED + piece : piece);
                if (id != null) {
                    break;
                }
            }
            if (id == null) {
                ids.count = before;
                ids.add(unknown);
                return;
            }
            ids.add(id);
            at = stop;
        }
    }

    /** A growing array of ints. */
    static final class Ids {
        int[] values = new int[32];
        int count;

        void add(int id) {
            if (count == values.length) {
                values = Arrays.copyOf(values, 2 * count);
            }
            values[count++] = id;
        }
    }
}
