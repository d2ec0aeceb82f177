package io.github.mcadmobile.gallery;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A folder with its display name: the last part of its path, or the whole path if two folders share that part. */
public record Album(String folder, String name, int photos) {
    /** The albums of {@link PhotoSearch#folders}, largest first. */
    public static List<Album> of(Map<String, Integer> folders) {
        Map<String, Integer> named = new HashMap<>();
        for (String folder : folders.keySet()) {
            named.merge(name(folder), 1, Integer::sum);
        }
        List<Album> albums = new ArrayList<>();
        for (Map.Entry<String, Integer> folder : folders.entrySet()) {
            String name = name(folder.getKey());
            albums.add(new Album(folder.getKey(), named.get(name) > 1 ? folder.getKey() : name, folder.getValue()));
        }
        albums.sort(Comparator.comparingInt((Album album) -> -album.photos).thenComparing(Album::name));
        return albums;
    }

    /** The last part of a folder's path. */
    public static String name(String folder) {
        return folder.isEmpty() ? "/" : folder.substring(folder.lastIndexOf('/') + 1);
    }
}
