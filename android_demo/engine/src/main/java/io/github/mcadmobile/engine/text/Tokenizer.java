package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.Bundle;
import io.github.mcadmobile.engine.McadException;
import java.io.Closeable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Turns text into a text tower's inputs. The reference is mcad_mobile/engine/text/tokenizer.py. */
public final class Tokenizer implements Closeable {
    /**
     * A tokenized text: ids [length]; mask [length], 1 where the tower attends, else 0; pooling [length], the weights
     * of the token states in the embedding.
     */
    public record Tokens(int[] ids, float[] mask, float[] pooling, boolean truncated) {}

    /** A word with fewer letters per token is spelled out: it is of a script that the vocabulary has no words of. */
    private static final float LETTERS_PER_TOKEN = 1.5f;
    /** "Dog", or "beach", in Russian, Greek, Korean, Arabic, Hebrew, Hindi, Thai and Japanese. */
    private static final String FOREIGN = "\u0441\u043e\u0431\u0430\u043a\u0430 \u03c3\u03ba\u03cd\u03bb\u03bf\u03c2 \uac15\uc544\uc9c0 "
        + "\u0643\u0644\u0628 \u05db\u05dc\u05d1 \u0915\u0941\u0924\u094d\u0924\u093e \u0e2b\u0e21\u0e32 "
        + "\u30d3\u30fc\u30c1";
    /** "The dog on the beach". Chinese has a token for each letter. */
    private static final String CHINESE = "\u6c99\u6ee9\u4e0a\u7684\u5c0f\u72d7";

    private final Bundle.TokenizerSpec spec;
    private final Encoder encoder;
    private final TokenTable table;

    private Tokenizer(Bundle.TokenizerSpec spec, Encoder encoder, TokenTable table) {
        this.spec = spec;
        this.encoder = encoder;
        this.table = table;
    }

    /** A bundle's tokenizer. McadException if its file cannot be read. */
    public static Tokenizer of(Bundle bundle) throws IOException {
        Bundle.TableRecord table = bundle.tokenTable;
        return new Tokenizer(bundle.tokenizer, new Encoder(bundle.path(bundle.tokenizer.file())),
            new TokenTable(bundle.path(table.file()), table.tokens(), table.width(), table.bits()));
    }

    /** A text tower's inputs by name: the tokens' rows, mask and pooling. */
    public Map<String, Object> inputs(Tokens tokens) throws IOException {
        Map<String, Object> inputs = new HashMap<>();
        inputs.put("token_rows", table.rows(tokens.ids()));
        inputs.put("attention_mask", tokens.mask());
        inputs.put("pooling", tokens.pooling());
        return inputs;
    }

    /** McadException if {@code text} is blank; a text that is too long is cut off. */
    public Tokens tokenize(String text) throws McadException {
        refuseEmpty(text);
        int length = spec.length();
        int room = length - encoder.before.length - encoder.after.length;
        int[] encoded = encoder.encode(text, room);
        int count = Math.min(encoded.length, room);
        int words = encoder.before.length + count + encoder.after.length;
        int start = spec.padLeft() ? length - words : 0;
        int[] ids = new int[length];
        Arrays.fill(ids, spec.pad());
        System.arraycopy(encoder.before, 0, ids, start, encoder.before.length);
        System.arraycopy(encoded, 0, ids, start + encoder.before.length, count);
        System.arraycopy(encoder.after, 0, ids, start + words - encoder.after.length, encoder.after.length);
        float[] mask = new float[length];
        if (spec.attendsToPadding()) {
            Arrays.fill(mask, 1);
        } else {
            Arrays.fill(mask, start, start + words, 1);
        }
        return new Tokens(ids, mask, pooling(ids, mask), encoded.length > room);
    }

    /**
     * Words of {@code text} that no tower can have learned: the tokenizer has no token for a part of them, or spells
     * them nearly letter by letter (English ones: Cyrillic). The same as in Python.
     */
    public List<String> unknownWords(String text) throws McadException {
        Set<String> words = new LinkedHashSet<>();
        int start = 0;
        for (int i = 0; i <= text.length(); i++) {
            if (i == text.length() || Characters.isWordBreak(text.charAt(i))) {
                if (start < i) {
                    words.add(text.substring(start, i));
                }
                start = i + 1;
            }
        }
        List<String> unknown = new ArrayList<>();
        for (String word : words) {
            if (isUnknown(word)) {
                unknown.add(word);
            }
        }
        return unknown;
    }

    /** Whether queries must be in English: the vocabulary has no words of other scripts. */
    public boolean isEnglish() throws McadException {
        int[] chinese = encoder.encode(CHINESE, spec.length());
        return unknownWords(FOREIGN).size() == FOREIGN.split(" ").length
            && (lacksToken(chinese) || chinese.length > CHINESE.length());
    }

    private boolean lacksToken(int[] ids) {
        return Arrays.stream(ids).anyMatch(id -> id == encoder.unknown);
    }

    private boolean isUnknown(String word) throws McadException {
        int[] ids = encoder.encode(word, spec.length());
        boolean lacksToken = lacksToken(ids);
        if (lacksToken || encoder.allowsSpelledWords) {
            return lacksToken;
        }
        int[] letters = word.codePoints().filter(Character::isLetter).toArray();
        boolean spelled = letters.length > 1 && letters.length < LETTERS_PER_TOKEN * ids.length;
        return spelled && word.codePoints().anyMatch(c -> c > 127)
            && Arrays.stream(letters).noneMatch(Characters::isIdeograph);
    }

    private float[] pooling(int[] ids, float[] mask) {
        float[] pooling = new float[ids.length];
        switch (spec.pool()) {
            case FIRST:
                pooling[0] = 1;
                break;
            case LAST:
                pooling[ids.length - 1] = 1;
                break;
            case EOS:
                int at = 0;
                while (at < ids.length && ids[at] != spec.eos()) {
                    at++;
                }
                pooling[at < ids.length ? at : 0] = 1;
                break;
            default:
                float sum = 0;
                for (float weight : mask) {
                    sum += weight;
                }
                for (int i = 0; i < mask.length; i++) {
                    pooling[i] = mask[i] / sum;
                }
        }
        return pooling;
    }

    @Override
    public void close() throws IOException {
        table.close();
    }

    private static void refuseEmpty(String text) throws McadException {
        for (int i = 0; i < text.length(); i++) {
            if (!Characters.isSpace(text.charAt(i))) {
                return;
            }
        }
        throw new McadException("The query '" + text + "' is empty.", "Write what the photo shows.");
    }
}
