package io.github.mcadmobile.demo;

import android.content.res.AssetManager;
import android.os.Bundle;
import android.widget.ArrayAdapter;
import android.widget.ListView;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Shows the app's components and their licences, one paragraph per row, from assets that the build adds. */
public final class AboutActivity extends DetailActivity {
    private static final String FOLDER = "mcad-licences";

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.about);
        DemoApp.WORKER.execute(this::load);
    }

    private void load() {
        List<String> rows = new ArrayList<>();
        try {
            read(getAssets(), FOLDER, rows);
        } catch (IOException error) {
            Messages.log(error);
        }
        if (rows.isEmpty()) {
            rows.add(getString(R.string.about_none));
        }
        DemoApp.SCREEN.post(() -> {
            ListView list = findViewById(R.id.texts);
            list.setAdapter(new ArrayAdapter<>(this, R.layout.paragraph, rows));
        });
    }

    /** Adds the paragraphs of a file, or of all files of a folder, each under its path. */
    private static void read(AssetManager assets, String path, List<String> rows) throws IOException {
        String[] names = assets.list(path);
        for (String name : names) {
            read(assets, path + "/" + name, rows);
        }
        if (names.length > 0 || path.equals(FOLDER)) {
            return;
        }
        rows.add(path.substring(FOLDER.length() + 1));
        try (BufferedReader reader = new BufferedReader(
            new InputStreamReader(assets.open(path), StandardCharsets.UTF_8))) {
            StringBuilder paragraph = new StringBuilder();
            for (String line = reader.readLine(); line != null; line = reader.readLine()) {
                if (!line.trim().isEmpty()) {
                    paragraph.append(paragraph.length() == 0 ? "" : "\n").append(line);
                } else if (paragraph.length() > 0) {
                    rows.add(paragraph.toString());
                    paragraph.setLength(0);
                }
            }
            if (paragraph.length() > 0) {
                rows.add(paragraph.toString());
            }
        }
    }
}
