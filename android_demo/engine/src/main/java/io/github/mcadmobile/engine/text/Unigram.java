package io.github.mcadmobile.engine.text;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.JsonFields;
import java.nio.DoubleBuffer;
import java.nio.IntBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Splits a word into its most likely pieces (Kudo, 2018). The strings are the pieces, then prefixes of pieces that are
 * no pieces themselves; scores are log probabilities.
 */
final class Unigram implements Model {
    private final Strings strings;
    private final DoubleBuffer scores;
    private final int unknown;
    private final double unknownScore;
    private final IntBuffer byteIds;

    Unigram(JsonFields model, Table table) throws McadException {
        strings = new Strings(table);
        scores = table.doubles("scores");
        unknown = Model.id(model, "unk");
        unknownScore = model.number("unk_score");
        byteIds = table.ints("byte_ids");
    }

    @Override
    public void encode(String word, Ids ids) {
        byte[] text = word.getBytes(StandardCharsets.UTF_8);
        // For the best path to each byte: its score, where its last piece starts (or -1), and that piece.
        double[] best = new double[text.length + 1];
        int[] from = new int[text.length + 1];
        int[] piece = new int[text.length + 1];
        Arrays.fill(from, -1);
        for (int start = 0; start < text.length; start = next(text, start)) {
            int first = next(text, start);
            boolean known = false;
            int end = start;
            while (end < text.length) {
                end = next(text, end);
                int found = strings.find(text, start, end);
                if (found < 0) {
                    break;
                }
                if (found < scores.capacity()) {
                    known |= end == first;
                    offer(best, from, piece, end, best[start] + scores.get(found), start, found);
                }
            }
            if (!known) {
                offer(best, from, piece, first, best[start] + unknownScore, start, unknown);
            }
        }
        int before = ids.count;
        int end = text.length;
        while (end > 0) {
            int start = from[end];
            if (piece[end] != unknown) {
                ids.add(piece[end]);
            } else {
                while (start > 0 && piece[start] == unknown) {
                    start = from[start];
                }
                addUnknown(text, start, end, ids);
            }
            end = start;
        }
        ids.reverse(before);
    }

    private static void offer(double[] best, int[] from, int[] piece, int end, double score, int start, int found) {
        if (from[end] < 0 || score > best[end]) {
            best[end] = score;
            from[end] = start;
            piece[end] = found;
        }
    }

    /** Adds a run of unknown characters, reversed, as byte tokens if the vocabulary has them. */
    private void addUnknown(byte[] text, int start, int end, Ids ids) {
        int found = strings.find(text, start, end);
        if (found >= 0 && found < scores.capacity()) {
            ids.add(found);
            return;
        }
        int before = ids.count;
        if (Model.addBytes(new String(text, start, end - start, StandardCharsets.UTF_8), byteIds, ids)) {
            ids.reverse(before);
        } else {
            ids.add(unknown);
        }
    }

    private static int next(byte[] text, int at) {
        int next = at + 1;
        while (next < text.length && (text[next] & 0xC0) == 0x80) {
            next++;
        }
        return next;
    }
}
