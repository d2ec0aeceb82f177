package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.PriorityQueue;

/**
 * Byte-pair encoding: merges the pair of lowest rank, leftmost first. Initial symbols are bytes, or characters, with
 * bytes for characters that the vocabulary lacks. Arrays as in mcad_mobile/engine/text/models.py.
 */
final class Bpe implements Model {
    private final boolean ofBytes;
    private final int unknown;
    private final boolean fuseUnknown;
    private final Map<String, Integer> whole = new HashMap<>();
    private final IntBuffer byteIds;
    private final IntBuffer byteLastIds;
    private final IntBuffer chars;
    private final IntBuffer charIds;
    private final IntBuffer rows;
    private final IntBuffer right;
    private final IntBuffer rank;
    private final IntBuffer into;

    Bpe(JsonFields model, Table table) throws McadException {
        ofBytes = model.flag("of_bytes");
        unknown = Model.id(model, "unk");
        fuseUnknown = model.flag("fuse_unk");
        JsonFields words = model.object("whole");
        for (String word : words.names()) {
            whole.put(word, (int) words.integer(word));
        }
        byteIds = table.ints("byte_ids");
        byteLastIds = table.ints("byte_last_ids");
        chars = table.ints("chars");
        charIds = table.ints("char_ids");
        rows = table.ints("merge_rows");
        right = table.ints("merge_right");
        rank = table.ints("merge_rank");
        into = table.ints("merge_into");
    }

    @Override
    public void encode(String word, Ids ids) {
        Integer id = whole.get(word);
        if (id != null) {
            ids.add(id);
            return;
        }
        Ids symbols = new Ids();
        if (ofBytes) {
            byteSymbols(word, symbols);
        } else {
            symbols(word, symbols);
        }
        merge(symbols.values, symbols.count);
        for (int i = 0; i < symbols.count; i++) {
            if (symbols.values[i] >= 0) {
                ids.add(symbols.values[i]);
            }
        }
    }

    private void byteSymbols(String word, Ids symbols) {
        byte[] data = word.getBytes(StandardCharsets.UTF_8);
        for (int i = 0; i < data.length; i++) {
            int id = (i + 1 < data.length ? byteIds : byteLastIds).get(data[i] & 0xff);
            if (id != NONE || unknown != NONE) {
                symbols.add(id == NONE ? unknown : id);
            }
        }
    }

    private void symbols(String word, Ids symbols) {
        boolean afterUnknown = false;
        for (int i = 0; i < word.length(); i += Character.charCount(word.codePointAt(i))) {
            int code = word.codePointAt(i);
            int at = search(chars, code, 0, chars.capacity());
            if (at >= 0) {
                symbols.add(charIds.get(at));
                afterUnknown = false;
            } else if (Model.addBytes(new String(Character.toChars(code)), byteIds, symbols)) {
                afterUnknown = false;
            } else if (unknown != NONE) {
                if (!afterUnknown || !fuseUnknown) {
                    symbols.add(unknown);
                }
                afterUnknown = true;
            }
        }
    }

    /** A possible merge: rank, position in the word, place in the arrays, and the left symbol it was found for. */
    private record Pair(int rank, int at, int place, int left) implements Comparable<Pair> {
        @Override
        public int compareTo(Pair other) {
            return rank != other.rank ? Integer.compare(rank, other.rank) : Integer.compare(at, other.at);
        }
    }

    /** Merges in place; a symbol merged into its left neighbour becomes -1. */
    private void merge(int[] symbols, int count) {
        int[] before = new int[count];
        int[] after = new int[count];
        PriorityQueue<Pair> queue = new PriorityQueue<>();
        for (int i = 0; i < count; i++) {
            before[i] = i - 1;
            after[i] = i + 1 < count ? i + 1 : -1;
        }
        for (int i = 0; i + 1 < count; i++) {
            offer(queue, symbols, i, i + 1);
        }
        for (Pair pair = queue.poll(); pair != null; pair = queue.poll()) {
            int at = pair.at();
            int second = after[at];
            // Either may have been merged since.
            if (symbols[at] != pair.left() || second < 0 || symbols[second] != right.get(pair.place())) {
                continue;
            }
            symbols[at] = into.get(pair.place());
            symbols[second] = -1;
            after[at] = after[second];
            if (after[at] >= 0) {
                before[after[at]] = at;
                offer(queue, symbols, at, after[at]);
            }
            if (before[at] >= 0) {
                offer(queue, symbols, before[at], at);
            }
        }
    }

    private void offer(PriorityQueue<Pair> queue, int[] symbols, int at, int next) {
        int left = symbols[at];
        int place = search(right, symbols[next], rows.get(left), rows.get(left + 1));
        if (place >= 0) {
            queue.add(new Pair(rank.get(place), at, place, left));
        }
    }

    private static int search(IntBuffer sorted, int wanted, int from, int to) {
        int low = from;
        int high = to - 1;
        while (low <= high) {
            int middle = low + high >>> 1;
            int found = sorted.get(middle);
            if (found == wanted) {
                return middle;
            }
            if (found < wanted) {
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        return -1;
    }
}
