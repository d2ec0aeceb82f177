package mcad.demo;

import android.app.Activity;
import android.os.Build;
import android.os.Bundle;
import android.view.LayoutInflater;
import android.view.View;
import android.view.ViewGroup;
import android.widget.TextView;
import java.io.IOException;
import mcad.engine.Ladder;
import mcad.engine.McadException;
import mcad.engine.Memory;
import mcad.engine.gallery.Numbers;
import mcad.engine.index.PhotoIndex;

/** What this phone really took, measured while the app was used; nothing is taken from elsewhere. */
public final class NumbersActivity extends Activity {
    private static final String[] STAGES = {"tokenize", "text", "scan", "rescore", "total", "decode", "image"};
    private static final int[] STAGE_NAMES = {
        R.string.stage_tokenize, R.string.stage_text, R.string.stage_scan, R.string.stage_rescore,
        R.string.stage_total, R.string.stage_decode, R.string.stage_image};

    private DemoEngine demo;

    @Override
    protected void onCreate(Bundle saved) {
        super.onCreate(saved);
        setContentView(R.layout.numbers);
        demo = DemoEngine.of(this);
        row(R.string.device, getString(R.string.device_value, Build.MANUFACTURER, Build.MODEL, Build.VERSION.RELEASE));
        row(R.string.memory, memory());
        demo.worker.execute(this::measured);
    }

    /** On the worker, whose engine and index these are. */
    private void measured() {
        try {
            PhotoIndex index = demo.index();
            String photos = getString(R.string.photos_indexed_value, index.photos(), index.bytesPerPhoto());
            String bundle = demo.bundle().name;
            Ladder.Climbed text = demo.engine().textTower();
            demo.screen.post(() -> {
                row(R.string.photos_indexed, photos);
                row(R.string.rung_text, rung(text));
                row(R.string.rung_image, rung(demo.imageTower()));
                for (int i = 0; i < STAGES.length; i++) {
                    row(STAGE_NAMES[i], stage(STAGES[i]));
                }
                row(R.string.bundle, bundle);
            });
        } catch (IOException | RuntimeException error) {
            int why = Failures.text(Failures.log(error));
            demo.screen.post(() -> row(R.string.bundle, getString(R.string.failed, getString(why))));
        }
    }

    private String memory() {
        try {
            Memory now = Memory.now();
            return getString(R.string.memory_value, now.pss(), now.rss());
        } catch (McadException error) {
            Failures.log(error);
            return getString(R.string.stage_none);
        }
    }

    private String stage(String stage) {
        Numbers numbers = demo.numbers;
        int count = numbers.count(stage);
        return count == 0 ? getString(R.string.stage_none) : getString(R.string.stage_value,
            numbers.percentile(stage, 50), numbers.percentile(stage, 90), count);
    }

    private String rung(Ladder.Climbed climbed) {
        if (climbed == null) {
            return getString(R.string.rung_none);
        }
        StringBuilder said = new StringBuilder(getString(R.string.rung_value, climbed.tower().rung.runtime(),
            climbed.tower().rung.precision(), climbed.tower().provider.toString(), climbed.cosine()));
        for (Ladder.Skipped skipped : climbed.skipped()) {
            String why = getString(Failures.text(skipped.why()));
            said.append('\n').append(getString(R.string.rung_skipped, skipped.what(), why));
        }
        return said.toString();
    }

    private void row(int name, String value) {
        ViewGroup rows = findViewById(R.id.rows);
        View row = LayoutInflater.from(this).inflate(R.layout.row, rows, false);
        ((TextView) row.findViewById(R.id.name)).setText(name);
        ((TextView) row.findViewById(R.id.value)).setText(value);
        rows.addView(row);
    }
}
