package io.github.mcadmobile.gallery;

import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.SearchEngine;
import io.github.mcadmobile.engine.base.JsonFields;
import java.io.IOException;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Lets the probe in at what screens are told, and at what the gallery keeps to itself. */
public final class ScreenProbe {
    private ScreenProbe() {}

    /** What a screen says in a state. */
    public static Object home(JsonFields request) throws IOException {
        McadException.Kind failure =
            request.has("failure") ? McadException.Kind.valueOf(request.string("failure")) : null;
        Indexing indexing = new Indexing(request.flag("running"), request.flag("resting"),
            false, request.integer("done", -1, 1 << 30), request.integer("total", -1, 1 << 30), request.number("per_minute"),
            request.integer("skipped", 0, 1 << 30), false, failure);
        PhotoAccess.State access = PhotoAccess.State.valueOf(request.string("access"));
        boolean refused = request.flag("refused");
        Home home = Home.of(access, refused, indexing, request.integer("photos", 0, 1 << 30));
        return JsonFields.of("panel", home.panel().name(), "action", home.action().name(), "line", home.line().name(),
            "index_now", Home.indexNow(access, refused).name(), "left", indexing.left(), "minutes",
            indexing.minutesLeft());
    }

    /** A grid after each event: "found" with so many photos, "turned" or "deleted" at a row, "clear". */
    public static Object shownResults(JsonFields request) throws IOException {
        ShownResults shown = new ShownResults();
        List<Object> states = new ArrayList<>();
        for (JsonFields event : request.objects("events")) {
            int at = -1;
            if (event.has("found")) {
                int photos = event.integer("found", 0, 1 << 20);
                List<SearchEngine.Result> results = new ArrayList<>();
                for (int i = 0; i < photos; i++) {
                    results.add(new SearchEngine.Result("p" + i, 1 - i / (float) photos));
                }
                at = shown.show(new SearchEngine.Found(results, new HashMap<>(), false, Collections.emptyList()));
            } else if (event.has("turned")) {
                shown = new ShownResults(shown.row(event.integer("turned", 0, 1 << 20)));
            } else if (event.has("deleted")) {
                shown.stay(event.integer("deleted", 0, 1 << 20));
            } else {
                shown.clear();
            }
            states.add(Arrays.asList(shown.results().size(), at));
        }
        return states;
    }

    public static Object tiles(JsonFields request) throws IOException {
        return Tiles.side(request.integer("width", 1, 1 << 20), request.integer("tile", 1, 1 << 20),
            request.integer("gap", 0, 1 << 20));
    }

    /** The indexed path of a URI and a file, and what is read of it again. */
    public static Object mediaPath(JsonFields request) throws IOException {
        String path = request.has("data") ? MediaPath.of(request.string("uri"), request.string("data"))
            : request.string("uri");
        return JsonFields.of("path", path, "volume", MediaPath.volume(path), "uri", MediaPath.uri(path));
    }

    /** From and until of a period, as seen from a day in a time zone; null for no end. */
    public static Object period(JsonFields request) throws IOException {
        ZoneId zone = ZoneId.of(request.string("zone"));
        Filter filter = request.has("first")
            ? Filter.ALL.taken(LocalDate.parse(request.string("first")), LocalDate.parse(request.string("last")), zone)
            : Period.valueOf(request.string("period")).of(Filter.ALL, LocalDate.parse(request.string("today")), zone);
        return Arrays.asList(filter.fromMs() == Long.MIN_VALUE ? null : filter.fromMs(),
            filter.untilMs() == Long.MAX_VALUE ? null : filter.untilMs(), filter.isTimed());
    }

    public static Object albums(JsonFields request) throws IOException {
        JsonFields counts = request.object("folders");
        Map<String, Integer> folders = new HashMap<>();
        for (String name : counts.names()) {
            folders.put(name, counts.integer(name, 0, 1 << 30));
        }
        List<Object> albums = new ArrayList<>();
        for (Album album : Album.of(folders)) {
            albums.add(Arrays.asList(album.folder(), album.name(), album.photos()));
        }
        return albums;
    }

    public static Object folder(JsonFields request) throws IOException {
        return MediaPath.folder(request.has("relative_path") ? request.string("relative_path") : null,
            request.has("data") ? request.string("data") : null);
    }

    /** Photos a minute after photos that were done at these seconds. */
    public static Object throughput(JsonFields request) throws IOException {
        Throughput throughput = new Throughput();
        for (Number second : request.list("seconds", Number.class)) {
            if (second.doubleValue() < 0) {
                throughput.rested();
            } else {
                throughput.done((long) (second.doubleValue() * 1e9));
            }
        }
        return throughput.perMinute();
    }
}
