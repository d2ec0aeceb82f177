package mcad.engine.text;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import mcad.engine.McadException;

/** A text to token ids, by the steps of a tokenizer's file. Many threads may use one. */
public final class Encoder {
    /** Ids before and after those of a text. */
    public final int[] before;
    public final int[] after;

    private final List<UnaryOperator<String>> prepare;
    private final List<UnaryOperator<String>> normalize;
    private final List<Words> splits;
    private final Model model;
    private final Added added;
    private final Added addedNormalized;

    /** McadException if the file is missing, damaged, or has a step that this version does not know. */
    public Encoder(Path file) throws IOException {
        Table table = new Table(file);
        try {
            before = ids(table.list("before"));
            after = ids(table.list("after"));
            prepare = Normalize.of(table.list("prepare"), table);
            normalize = Normalize.of(table.list("normalize"), table);
            splits = Words.of(table.list("split"));
            model = Model.of(table);
            added = added(table.list("added"), false);
            addedNormalized = added(table.list("added"), true);
        } catch (RuntimeException error) {
            throw new McadException(
                "The tokenizer has a part that this version does not read: " + error.getMessage() + ".",
                "Update the app, or: " + Table.EXPORT_AGAIN, error);
        }
    }

    /** The ids of {@code text}; no more are looked for once there are more than {@code most}. */
    public int[] encode(String text, int most) {
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

    private Added added(List<?> tokens, boolean normalized) {
        List<Added.Token> found = new ArrayList<>();
        for (Object token : tokens) {
            List<?> fields = (List<?>) token;
            if ((Boolean) fields.get(2) == normalized) {
                String name = (String) fields.get(0);
                found.add(new Added.Token(normalized ? Normalize.apply(normalize, name) : name,
                    ((Long) fields.get(1)).intValue(), (Boolean) fields.get(3), (Boolean) fields.get(4)));
            }
        }
        return new Added(found);
    }

    private static int[] ids(List<?> numbers) {
        int[] ids = new int[numbers.size()];
        for (int i = 0; i < ids.length; i++) {
            ids[i] = ((Long) numbers.get(i)).intValue();
        }
        return ids;
    }

    private static String withoutLoneSurrogates(String text) {
        StringBuilder out = new StringBuilder(text.length());
        text.codePoints().forEach(c -> out.appendCodePoint(c >= 0xD800 && c <= 0xDFFF ? 0xFFFD : c));
        return out.toString();
    }
}
