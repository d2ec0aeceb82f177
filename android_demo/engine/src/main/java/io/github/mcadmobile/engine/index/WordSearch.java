package io.github.mcadmobile.engine.index;

import io.github.mcadmobile.engine.words.Folding;
import io.github.mcadmobile.engine.words.Match;
import io.github.mcadmobile.engine.words.PhotoWords;
import io.github.mcadmobile.engine.words.Ranking;
import io.github.mcadmobile.engine.words.WordHit;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Search by words: the share of a query's terms that each photo has. As mcad_mobile/engine/index/word_search.py. */
final class WordSearch {
    /** How well a term matches: not, with a wrong letter, as the start of a word, or as a whole. */
    private static final float[] LIKENESS = {0, 0.5f, 0.7f, 1};
    private static final int MARKS = 256;
    private static final int MOST_TIED = 4096; // photos to compare with the query's embedding

    private final List<LiveSegment> segments;
    private final PhotoIndex index;
    private final List<String> terms;
    private final byte[] queries;
    private final int groups;
    /** Of each segment, [groups][photos]: how photos match each group of terms, in two bits for each term. */
    private final byte[][] marks;
    private final Map<String, Boolean> isLike = new HashMap<>();

    private record Found(int segment, int row, float worth, float cosine) {}

    WordSearch(List<LiveSegment> segments, String query, PhotoIndex index) {
        this.segments = segments;
        this.index = index;
        terms = Ranking.termsToFind(query);
        queries = WordsFile.queries(terms, WordsFile.ANY_SOURCE);
        groups = (terms.size() + WordsFile.TERMS - 1) / WordsFile.TERMS;
        marks = new byte[segments.size()][];
    }

    /**
     * The {@code k} photos that pass the filter of {@code by} whose words match the largest share of the query; of equal
     * ones, those near a rotated embedding, unless it is null. Each term counts by its inverse document frequency, and
     * as much as it is matched.
     */
    List<WordHit> search(int k, Search by, float[] near) throws IOException {
        int[] counts = find();
        int photos = segments.stream().mapToInt(LiveSegment::live).sum();
        double[] idfs = new double[groups * WordsFile.TERMS];
        double rarest = 0;
        for (int term = 0; term < terms.size(); term++) {
            idfs[term] = Math.max(0, Math.log((photos + 1) / (counts[term] + 0.5)));
            rarest = counts[term] == 0 ? rarest : Math.max(rarest, idfs[term]);
        }
        double most = 0;
        for (double idf : idfs) {
            // A word that no photo has, such as "beach", counts no more than those that some have.
            most += Math.min(idf, rarest);
        }
        float[] worths = new float[groups * MARKS];
        for (int i = 0; i < worths.length; i++) {
            double worth = 0;
            for (int term = 0; term < WordsFile.TERMS; term++) {
                worth += idfs[i / MARKS * WordsFile.TERMS + term] * LIKENESS[i % MARKS >> 2 * term & 3];
            }
            worths[i] = (float) worth;
        }
        List<Found> best = best(k, by, near, worths);
        List<String> paths = new ArrayList<>();
        for (Found found : best) {
            paths.add(PathBytes.toString(segments.get(found.segment).segment().paths.at(found.row)));
        }
        Map<String, String> names = index.names(paths);
        List<WordHit> hits = new ArrayList<>();
        for (Found found : best) {
            String path = paths.get(hits.size());
            String name = names.getOrDefault(Moments.file(path), "");
            List<Match> matches = matches(name, segments.get(found.segment).words().photos(found.row).get(0));
            hits.add(new WordHit(path, found.worth / most, found.cosine, matches));
        }
        return hits;
    }

    /** Mark how photos match; how many live ones match each term. */
    private int[] find() throws IOException {
        int[] counts = new int[groups * WordsFile.TERMS];
        for (int s = 0; s < marks.length; s++) {
            LiveSegment live = segments.get(s);
            int photos = live.segment().photos;
            marks[s] = new byte[groups * photos];
            for (int first = 0; first < terms.size() && live.words() != null; first += WordsFile.TERMS) {
                int group = first / WordsFile.TERMS;
                List<String> few = terms.subList(first, Math.min(first + WordsFile.TERMS, terms.size()));
                int[] found = live.words().find(few, WordsFile.ANY_SOURCE, marks[s], group);
                for (int term = 0; term < found.length; term++) {
                    counts[first + term] += found[term];
                    for (int row : live.deleted()) {
                        counts[first + term] -= (marks[s][group * photos + row] >> 2 * term & 3) == 0 ? 0 : 1;
                    }
                }
            }
        }
        return counts;
    }

    /** Of those that tie for the last place, those near the embedding. */
    private List<Found> best(int k, Search by, float[] near, float[] worths) throws IOException {
        List<Found> all = new ArrayList<>();
        for (int s = 0; s < marks.length; s++) {
            int photos = segments.get(s).segment().photos;
            int[] rows = new int[Math.min(k + (near == null ? 0 : MOST_TIED / marks.length), photos)];
            float[] own = new float[rows.length];
            int count = Kernel.rankWords(marks[s], worths, by.filtered(s).rowBits(), Math.min(k, photos), rows, own);
            float[] cosines = near == null ? new float[count]
                : Search.cosines(segments.get(s), near, Arrays.copyOf(rows, count));
            for (int i = 0; i < count; i++) {
                all.add(new Found(s, rows[i], own[i], cosines[i]));
            }
        }
        all.sort(Comparator.comparing(Found::worth).thenComparing(Found::cosine).reversed());
        return all.subList(0, Math.min(k, all.size()));
    }

    private List<Match> matches(String name, PhotoWords words) {
        List<Match> found = new ArrayList<>();
        for (PhotoWords.Line line : words.lines()) {
            addMatch("text", line.text(), line.box(), found);
        }
        addMatch("name", name, List.of(), found);
        for (String place : words.places()) {
            addMatch("place", place, List.of(), found);
        }
        return found;
    }

    private void addMatch(String source, String line, List<Integer> box, List<Match> found) {
        Set<String> distinct = new LinkedHashSet<>(Folding.fold(line));
        distinct.removeIf(word -> !isLike.computeIfAbsent(
            word, any -> Kernel.isLike(queries, any.getBytes(StandardCharsets.UTF_8))));
        if (!distinct.isEmpty()) {
            found.add(new Match(source, new ArrayList<>(distinct), line, box));
        }
    }
}
