package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.nio.charset.StandardCharsets;

/** Splits off the longest piece in the vocabulary, from the left (Devlin et al., 2019). */
final class WordPiece implements Model {
    private final Strings strings;
    private final int unknown;
    private final byte[] continued;
    private final int longest;

    WordPiece(JsonFields model, Table table) throws McadException {
        strings = new Strings(table);
        unknown = Model.id(model, "unk");
        continued = model.string("continued").getBytes(StandardCharsets.UTF_8);
        longest = Model.id(model, "longest");
    }

    @Override
    public void encode(String word, Ids ids) {
        if (word.codePointCount(0, word.length()) > longest) {
            ids.add(unknown);
            return;
        }
        // The prefix of continuing pieces overwrites the bytes of the piece before.
        byte[] text = word.getBytes(StandardCharsets.UTF_8);
        byte[] key = new byte[continued.length + text.length];
        System.arraycopy(text, 0, key, continued.length, text.length);
        int before = ids.count;
        int at = continued.length;
        while (at < key.length) {
            int from = at;
            if (at > continued.length) {
                from = at - continued.length;
                System.arraycopy(continued, 0, key, from, continued.length);
            }
            int end = key.length;
            int id = NONE;
            for (; end > at && id < 0; end--) {
                // An end within a character matches nothing.
                id = strings.find(key, from, end);
            }
            if (id < 0) {
                ids.count = before;
                ids.add(unknown);
                return;
            }
            ids.add(id);
            at = end + 1;
        }
    }
}
