package mcad.engine;

import java.io.IOException;
import java.util.Arrays;

/** Text to token ids. */
public interface Tokenizer {
    /** One text: ids [length] and mask [length], 1 where a token is and 0 where padding is. */
    record Tokens(int[] ids, float[] mask, boolean truncated) {}

    /** McadException if {@code text} holds nothing but space; a text that is too long is cut. */
    Tokens tokenize(String text) throws McadException;

    /** The tokenizer of a bundle. */
    static Tokenizer of(Bundle bundle) throws IOException {
        Bundle.TokenizerSpec spec = bundle.tokenizer;
        switch (spec.kind()) {
            case "wordpiece":
                return new WordPiece(spec, bundle.path(spec.file()));
            case "clip_bpe":
                return new ClipBpe(spec, bundle.path(spec.file()));
            default:
                throw new McadException(
                    "Tokenizer kind '" + spec.kind() + "' is not one that this version reads (wordpiece, clip_bpe).",
                    "Update the app, or export the bundle again.");
        }
    }

    /** The id of a special token that a tokenizer cannot do without. */
    static int special(Bundle.TokenizerSpec spec, String name) throws McadException {
        Integer id = spec.specials().get(name);
        if (id == null) {
            throw new McadException("The tokenizer has no special token " + name + ".", "Export the bundle again.");
        }
        return id;
    }

    /** McadException unless something but space is in {@code text}. */
    static void refuseEmpty(String text) throws McadException {
        for (int i = 0; i < text.length(); i++) {
            if (!Unicode.isSpace(text.charAt(i))) {
                return;
            }
        }
        throw new McadException("The query '" + text + "' is empty.", "Write what the photo shows.");
    }

    /** Ids between a start and an end token, cut and padded to the length of the spec. */
    static Tokens framed(int[] ids, int count, int start, int end, Bundle.TokenizerSpec spec) {
        int length = spec.length();
        int kept = Math.min(count, length - 2);
        int[] framed = new int[length];
        float[] mask = new float[length];
        Arrays.fill(framed, spec.pad());
        framed[0] = start;
        System.arraycopy(ids, 0, framed, 1, kept);
        framed[kept + 1] = end;
        Arrays.fill(mask, 0, kept + 2, 1);
        return new Tokens(framed, mask, count > kept);
    }
}
