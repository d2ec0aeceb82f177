package io.github.mcadmobile.demo;

import android.os.Build;
import android.os.Bundle;
import android.view.View;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.base.Memory;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.Timings;
import io.github.mcadmobile.platform.MediaSearch;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;

/** Shows times and memory measured on this phone while the app was used. */
public final class NumbersActivity extends DetailActivity {
    private static final String[] STAGES = {"tokenize", "text", "scan", "rescore", "total", "decode", "image"};
    private static final int[] STAGE_NAMES = {
        R.string.stage_tokenize, R.string.stage_text, R.string.stage_scan, R.string.stage_rescore,
        R.string.stage_total, R.string.stage_decode, R.string.stage_image};

    private PhotoSearch search;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.numbers);
        search = MediaSearch.of(this);
        findViewById(R.id.try_rungs).setOnClickListener(this::tryRungsAgain);
        DemoApp.WORKER.execute(this::measure);
    }

    /** On the worker thread: measuring memory alone takes tens of milliseconds. */
    private void measure() {
        Map<Integer, String> rows = new LinkedHashMap<>();
        rows.put(R.string.device,
            getString(R.string.device_value, Build.MANUFACTURER, Build.MODEL, Build.VERSION.RELEASE));
        rows.put(R.string.memory, memory());
        boolean remembered = false;
        try {
            rows.put(R.string.photos_indexed,
                getString(R.string.photos_indexed_value, search.photos(), search.bytesPerPhoto()));
            Ladder.LoadedRung text = search.textTower();
            Ladder.LoadedRung image = search.imageTower();
            remembered = remembered(text) || remembered(image);
            rows.put(R.string.rung_text, rung(text));
            rows.put(R.string.rung_image, rung(image));
            for (int i = 0; i < STAGES.length; i++) {
                rows.put(STAGE_NAMES[i], stage(STAGES[i]));
            }
            rows.put(R.string.bundle, search.bundle().name);
        } catch (IOException | RuntimeException error) {
            Messages.log(error);
            rows.put(R.string.error, Messages.failure(this, McadException.kind(error)));
        }
        int again = remembered ? View.VISIBLE : View.GONE;
        DemoApp.SCREEN.post(() -> show(rows, again));
    }

    private void show(Map<Integer, String> rows, int again) {
        showRows(rows);
        findViewById(R.id.try_rungs).setVisibility(again);
    }

    private void tryRungsAgain(View button) {
        button.setVisibility(View.GONE);
        DemoApp.WORKER.execute(() -> {
            try {
                search.tryRungsAgain();
            } catch (IOException | RuntimeException error) {
                Messages.log(error);
            }
            measure();
        });
    }

    private static boolean remembered(Ladder.LoadedRung loaded) {
        boolean remembered = false;
        if (loaded != null) {
            for (Ladder.Skipped skipped : loaded.skipped()) {
                remembered |= skipped.remembered();
            }
        }
        return remembered;
    }

    private String memory() {
        try {
            Memory now = Memory.now();
            return getString(R.string.memory_value, now.pss(), now.rss());
        } catch (McadException error) {
            Messages.log(error);
            return getString(R.string.stage_none);
        }
    }

    private String stage(String stage) {
        Timings timings = search.timings;
        int count = timings.count(stage);
        return count == 0 ? getString(R.string.stage_none) : getString(R.string.stage_value,
            timings.percentile(stage, 50), timings.percentile(stage, 90), count);
    }

    private String rung(Ladder.LoadedRung loaded) {
        if (loaded == null) {
            return getString(R.string.rung_none);
        }
        StringBuilder text = new StringBuilder(getString(R.string.rung_value, loaded.tower().rung.runtime(),
            loaded.tower().rung.precision(), loaded.tower().provider.toString(), loaded.cosine()));
        for (Ladder.Skipped skipped : loaded.skipped()) {
            String why = getString(Messages.text(skipped.reason()));
            text.append('\n').append(getString(R.string.rung_skipped, skipped.step(), why));
        }
        return text.toString();
    }
}
