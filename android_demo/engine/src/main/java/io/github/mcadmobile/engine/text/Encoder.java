package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import org.json.JSONArray;

/** Turns a text into token ids by the steps of a tokenizer's file. Thread-safe. */
public final class Encoder {
    /** Special tokens around a text. */
    public final int[] before;
    public final int[] after;
    /** The token of what the vocabulary lacks, or {@link Model#NONE}. */
    final int unknown;
    /** Whether words with few letters per token are no sign of a script that the tower has not learned. */
    final boolean allowsSpelledWords;

    private final List<UnaryOperator<String>> prepare;
    private final List<UnaryOperator<String>> normalize;
    private final List<Words> splits;
    private final Model model;
    private final Added added;
    private final Added addedNormalized;
    private final Path file;

    /** McadException if the file is missing or damaged, or has a step that this version does not know. */
    public Encoder(Path file) throws IOException {
        this.file = file;
        Table table = new Table(file);
        try {
            before = ids(table.header.list("before", Long.class));
            after = ids(table.header.list("after", Long.class));
            prepare = Normalize.of(table.header.list("prepare", JSONArray.class), table);
            normalize = Normalize.of(table.header.list("normalize", JSONArray.class), table);
            splits = Words.of(table.header.list("split", JSONArray.class));
            model = Model.of(table);
            JsonFields header = table.header.object("model");
            unknown = Model.id(header, "unk");
            allowsSpelledWords = header.has("many_scripts") && header.flag("many_scripts");
            List<JSONArray> tokens = table.header.list("added", JSONArray.class);
            added = added(tokens, false);
            addedNormalized = added(tokens, true);
        } catch (McadException | RuntimeException error) {
            throw new McadException(
                "The tokenizer has a part that this version does not read: " + error.getMessage() + ".",
                "Update the app, or export the bundle again.", error);
        }
    }

    /** The ids of {@code text}; stops early once there are more than {@code most}. McadException if the file is damaged. */
    public int[] encode(String text, int most) throws McadException {
        try {
            return idsOf(text, most);
        } catch (RuntimeException error) {
            throw new McadException(file + " is damaged: " + error + ".", McadException.EXPORT_AGAIN, error);
        }
    }

    private int[] idsOf(String text, int most) {
        Ids ids = new Ids();
        String prepared = Normalize.apply(prepare, withoutLoneSurrogates(text));
        for (Added.Part part : added.split(prepared)) {
            if (part.text() == null) {
                ids.add(part.id());
                continue;
            }
            for (Added.Part inner : addedNormalized.split(Normalize.apply(normalize, part.text()))) {
                if (inner.text() == null) {
                    ids.add(inner.id());
                    continue;
                }
                for (String word : words(inner.text(), part.start() == 0 && inner.start() == 0)) {
                    model.encode(word, ids);
                    if (ids.count > most) {
                        return Arrays.copyOf(ids.values, ids.count);
                    }
                }
            }
        }
        return Arrays.copyOf(ids.values, ids.count);
    }

    private List<String> words(String text, boolean first) {
        List<String> words = new ArrayList<>();
        words.add(text);
        for (Words split : splits) {
            List<String> parts = new ArrayList<>();
            for (int i = 0; i < words.size(); i++) {
                split.split(words.get(i), first && i == 0, parts);
            }
            words = parts;
        }
        return words;
    }

    private Added added(List<JSONArray> tokens, boolean normalized) {
        List<Added.Token> found = new ArrayList<>();
        for (JSONArray fields : tokens) {
            if ((Boolean) fields.opt(2) == normalized) {
                String name = (String) fields.opt(0);
                found.add(new Added.Token(normalized ? Normalize.apply(normalize, name) : name,
                    (Integer) fields.opt(1), (Boolean) fields.opt(3), (Boolean) fields.opt(4)));
            }
        }
        return new Added(found);
    }

    private static int[] ids(List<Long> numbers) {
        int[] ids = new int[numbers.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = numbers.get(i).intValue();
        }
        return ids;
    }

    private static String withoutLoneSurrogates(String text) {
        StringBuilder out = new StringBuilder(text.length());
        text.codePoints().forEach(c -> out.appendCodePoint(c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c));
        return out.toString();
    }
}
