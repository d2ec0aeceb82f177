package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;

/** Turns a word into token ids. */
interface Model {
    int NONE = -1;

    void encode(String word, Ids ids);

    /** The model of a table; IllegalArgumentException for a model that this version does not know. */
    static Model of(Table table) throws McadException {
        JsonFields model = table.header.object("model");
        switch (model.string("kind")) {
            case "wordpiece":
                return new WordPiece(model, table);
            case "bpe":
                return new Bpe(model, table);
            case "unigram":
                return new Unigram(model, table);
            default:
                throw new IllegalArgumentException("model " + model.string("kind"));
        }
    }

    /** Adds the tokens of a text's bytes and returns true if the vocabulary has them all; else adds none. */
    static boolean addBytes(String text, IntBuffer byteIds, Ids ids) {
        if (byteIds.capacity() == 0) {
            return false;
        }
        int before = ids.count;
        for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            int id = byteIds.get(b & 0xff);
            if (id == NONE) {
                ids.count = before;
                return false;
            }
            ids.add(id);
        }
        return true;
    }

    /** An id in the header, or NONE for null. */
    static int id(JsonFields model, String key) throws McadException {
        return model.has(key) ? (int) model.integer(key) : NONE;
    }
}
