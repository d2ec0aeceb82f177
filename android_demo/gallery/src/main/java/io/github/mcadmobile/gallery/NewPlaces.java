package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.index.IndexWriter;
import io.github.mcadmobile.engine.index.PhotoIndex;
import io.github.mcadmobile.engine.words.PhotoWords;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/** Gives photos their places that were indexed before the app was allowed to know them. */
record NewPlaces(PhotoIndex index, SearchEngine engine, PhotoLibrary library) {
    /** A commit writes a segment's words anew. */
    private static final int AT_ONCE = 1000;

    /** True if all photos have been looked at. */
    boolean add(List<PhotoLibrary.Item> listed, Conditions conditions) throws IOException {
        List<PhotoLibrary.Item> without = new ArrayList<>();
        for (PhotoLibrary.Item item : listed) {
            PhotoWords words = item.isVideo() ? null : index.words(item.path());
            if (words != null && words.places().isEmpty()) {
                without.add(item);
            }
        }
        for (int start = 0; start < without.size(); start += AT_ONCE) {
            try (IndexWriter writer = index.writer()) {
                for (PhotoLibrary.Item item : without.subList(start, Math.min(start + AT_ONCE, without.size()))) {
                    if (conditions.isStopped()) {
                        break;
                    }
                    add(writer, item.path());
                }
                writer.commit();
            }
        }
        return !conditions.isStopped();
    }

    private void add(IndexWriter writer, String path) throws IOException {
        List<String> places;
        try {
            places = engine.wordsOf(library.open(path)).places();
        } catch (IOException unreadable) {
            library.checkAccess();
            return;
        }
        if (!places.isEmpty()) {
            PhotoWords words = index.words(path);
            writer.setWords(path, new PhotoWords(words.lines(), places, words.read()));
        }
    }
}
