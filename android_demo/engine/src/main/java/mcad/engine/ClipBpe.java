package mcad.engine;

import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.text.Normalizer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * CLIP's byte-pair encoding (Radford et al., 2021). The file is the list of merges, one a line behind one line of
 * title, as `bpe_simple_vocab_16e6.txt`; the vocabulary follows from it: 256 bytes, the same ending a word, one token a
 * merge, then the start and end of text.
 */
final class ClipBpe implements Tokenizer {
    private static final int MERGES = 49152 - 256 - 2;
    private static final String WORD_END = "</w>";
    private static final Pattern WORDS = Pattern.compile(
        "'s|'t|'re|'ve|'m|'ll|'d|\\p{L}+|\\p{N}|[^\\s\\x{0b}\\x{1c}-\\x{1f}\\x{85}\\p{Z}\\p{L}\\p{N}]+",
        Pattern.CASE_INSENSITIVE);
    private static final String BYTES = bytesAsCharacters();

    private final Bundle.TokenizerSpec spec;
    private final Map<String, Integer> ranks = new HashMap<>();
    private final Map<String, Integer> vocabulary = new HashMap<>();
    private final int start;
    private final int end;

    ClipBpe(Bundle.TokenizerSpec spec, Path file) throws IOException {
        this.spec = spec;
        start = Tokenizer.special(spec, "<|startoftext|>");
        end = Tokenizer.special(spec, "<|endoftext|>");
        String byId = idOrder();
        for (int i = 0; i < 256; i++) {
            vocabulary.put(byId.substring(i, i + 1), i);
            vocabulary.put(byId.charAt(i) + WORD_END, 256 + i);
        }
        try (BufferedReader lines = Files.newBufferedReader(file, StandardCharsets.UTF_8)) {
            lines.readLine();
            String line = lines.readLine();
            for (int rank = 0; rank < MERGES && line != null; rank++) {
                ranks.put(line, rank);
                vocabulary.put(line.replace(" ", ""), 512 + rank);
                line = lines.readLine();
            }
        }
    }

    @Override
    public Tokens tokenize(String text) throws McadException {
        Tokenizer.refuseEmpty(text);
        String clean = Normalizer.normalize(text, Normalizer.Form.NFC).toLowerCase(Locale.ROOT);
        WordPiece.Ids ids = new WordPiece.Ids();
        Matcher words = WORDS.matcher(clean);
        while (words.find()) {
            for (String token : merged(words.group())) {
                ids.add(vocabulary.getOrDefault(token, end));
            }
        }
        return Tokenizer.framed(ids.values, ids.count, start, end, spec);
    }

    private List<String> merged(String word) {
        List<String> parts = new ArrayList<>();
        for (byte b : word.getBytes(StandardCharsets.UTF_8)) {
            parts.add(BYTES.substring(b & 0xff, (b & 0xff) + 1));
        }
        int last = parts.size() - 1;
        parts.set(last, parts.get(last) + WORD_END);
        while (parts.size() > 1) {
            int best = -1;
            int lowest = Integer.MAX_VALUE;
            for (int i = 0; i + 1 < parts.size(); i++) {
                Integer rank = ranks.get(parts.get(i) + " " + parts.get(i + 1));
                if (rank != null && rank < lowest) {
                    lowest = rank;
                    best = i;
                }
            }
            if (best < 0) {
                break;
            }
            parts.set(best, parts.get(best) + parts.remove(best + 1));
        }
        return parts;
    }

    /** For each byte the printable character that stands for it in the file of merges. */
    private static String bytesAsCharacters() {
        StringBuilder map = new StringBuilder();
        int spare = 256;
        for (int b = 0; b < 256; b++) {
            map.append((char) (isPrintable(b) ? b : spare++));
        }
        return map.toString();
    }

    /** Those characters in the order of their ids: printable bytes first, as OpenAI's code lists them. */
    private static String idOrder() {
        StringBuilder printable = new StringBuilder();
        StringBuilder others = new StringBuilder();
        for (int b = 0; b < 256; b++) {
            (isPrintable(b) ? printable : others).append(BYTES.charAt(b));
        }
        return printable.append(others).toString();
    }

    private static boolean isPrintable(int b) {
        return b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE;
    }
}
