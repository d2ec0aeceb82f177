package io.github.mcadmobile.demo;

import android.content.Context;
import android.icu.text.DateFormat;
import android.text.format.DateUtils;
import android.util.Log;
import android.widget.Toast;
import io.github.mcadmobile.engine.McadException;
import io.github.mcadmobile.engine.index.Moments;
import io.github.mcadmobile.engine.towers.Ladder;
import io.github.mcadmobile.gallery.Home;
import io.github.mcadmobile.gallery.Indexing;
import io.github.mcadmobile.gallery.NamedPeriod;
import io.github.mcadmobile.gallery.Waiting;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.time.format.FormatStyle;
import java.util.Date;
import java.util.Locale;

/** Messages about errors and runs: on screen in the user's language; errors also go to the log in full. */
final class Messages {
    private static final String TAG = "mcad";

    private Messages() {}

    static void log(Throwable error) {
        Log.w(TAG, error);
    }

    /** Log an error and show a toast; from any thread. */
    static void showError(Context context, Throwable error) {
        log(error);
        String text = failure(context, McadException.kind(error));
        DemoApp.SCREEN.post(() -> Toast.makeText(context, text, Toast.LENGTH_LONG).show());
    }

    static String failure(Context context, McadException.Kind kind) {
        return context.getString(R.string.failed, context.getString(text(kind)));
    }

    private static int text(McadException.Kind kind) {
        return switch (kind) {
            case ACCESS -> R.string.error_access;
            case PHOTOS -> R.string.error_photos;
            case BUNDLE -> R.string.error_bundle;
            case TOWER -> R.string.error_tower;
            case INDEX -> R.string.error_index;
            case DAMAGED -> R.string.error_damaged;
            case STORAGE -> R.string.error_storage;
            case NOT_INDEXED -> R.string.error_not_indexed;
            case OTHER -> R.string.error_other;
        };
    }

    static int text(Ladder.Reason why) {
        return switch (why) {
            case NO_RUNTIME -> R.string.why_no_runtime;
            case SLOW -> R.string.why_slow;
            case NO_LIBRARY -> R.string.why_no_library;
            case OTHER_CHIP -> R.string.why_other_chip;
            case FAILED -> R.string.why_failed;
            case SELF_TEST -> R.string.why_self_test;
            case DIED -> R.string.why_died;
        };
    }

    /** A day in the phone's language. */
    static String day(long ms) {
        return Instant.ofEpochMilli(ms).atZone(ZoneId.systemDefault()).toLocalDate()
            .format(DateTimeFormatter.ofLocalizedDate(FormatStyle.MEDIUM));
    }

    /** Minutes and seconds, and hours if there are any. */
    static String clock(long ms) {
        return DateUtils.formatElapsedTime(ms / 1000);
    }

    /** A photo or the moment of a video, for screen readers; an empty day is unknown. */
    static String describe(Context context, String row, String day) {
        long ms = Moments.ms(row);
        String what = context.getString(ms == Moments.NONE ? R.string.photo : R.string.video_at, clock(ms));
        return day.isEmpty() ? what : context.getString(R.string.taken_on, what, day);
    }

    /** The month of a day, with its year. */
    static String month(long ms) {
        return DateFormat.getInstanceForSkeleton("yMMMM", Locale.getDefault()).format(new Date(ms));
    }

    static String period(NamedPeriod period) {
        Date first = Date.from(period.first().atStartOfDay(ZoneId.systemDefault()).toInstant());
        return DateFormat.getInstanceForSkeleton(period.month() == null ? "y" : "yMMMM", Locale.getDefault()).format(first);
    }

    /** The line above the photos. */
    static String line(Context context, Home.Line line, Indexing state, Waiting waiting, int photos) {
        String text = text(context, line, state, photos);
        boolean waits = line == Home.Line.LEFT || line == Home.Line.SEARCHABLE && waiting == Waiting.STOPPED;
        if (waits && waiting != Waiting.NO) {
            text += "\n" + context.getString(text(waiting));
        }
        return state.changing() && !text.isEmpty() ? text + "\n" + context.getString(R.string.changing) : text;
    }

    /** The text for why nothing is indexed now. */
    private static int text(Waiting waiting) {
        return switch (waiting) {
            case NO -> R.string.looking;
            case PAUSED -> R.string.paused;
            case STOPPED -> R.string.stopped;
            case CHARGER -> R.string.waits_for_charger;
            case POWER_SAVER -> R.string.waits_for_power;
        };
    }

    private static String text(Context context, Home.Line line, Indexing state, int photos) {
        return switch (line) {
            case NONE -> "";
            case LOOKING, PROGRESS, RESTING -> progress(context, state);
            case SEARCHABLE -> searchable(context, state, photos);
            case LEFT -> indexed(context, state, photos) + "\n" + context.getResources().getQuantityString(R.plurals.left, state.left(), state.left());
            case FAILED -> indexed(context, state, photos) + "\n" + failure(context, state.failure());
        };
    }

    /** The progress of a run. */
    static String progress(Context context, Indexing state) {
        if (!state.isCounted() || state.total() == 0) {
            return context.getString(R.string.looking);
        }
        boolean reads = state.left() == 0 && state.unread() > 0;
        String far = reads ? context.getString(R.string.reading, state.read(), state.toRead())
            : context.getResources().getQuantityString(
                R.plurals.indexing_progress, state.total(), state.done(), state.total());
        if (state.resting()) {
            return far + "\n" + context.getString(R.string.resting);
        }
        int minutes = state.minutesLeft();
        int photos = Math.max(1, (int) Math.round(state.perMinute()));
        return minutes == 0 ? far : far + "\n" + context.getResources().getQuantityString(R.plurals.pace, minutes,
            context.getResources().getQuantityString(R.plurals.per_minute, photos, photos), minutes);
    }

    /** {@code photos} counts each moment of a video. */
    private static String indexed(Context context, Indexing state, int photos) {
        int files = state.isCounted() && !state.changing() ? Math.min(photos, state.done() - state.skipped()) : photos;
        return context.getResources().getQuantityString(R.plurals.indexed, files, files);
    }

    private static String searchable(Context context, Indexing state, int photos) {
        String indexed = indexed(context, state, photos);
        int skipped = state.skipped();
        return skipped == 0 ? indexed
            : indexed + "\n" + context.getResources().getQuantityString(R.plurals.skipped, skipped, skipped);
    }

    /** The text shown in place of photos. */
    static String panel(Context context, Home.Panel panel, Indexing state, Waiting waiting) {
        return switch (panel) {
            case NONE -> "";
            case WELCOME -> context.getString(R.string.start_text);
            case DENIED -> context.getString(R.string.denied);
            case NOT_INDEXED -> firstRun(context, state) + context.getString(text(waiting));
            case NO_PHOTOS -> context.getString(R.string.no_photos);
            case NONE_READABLE -> context.getResources().getQuantityString(
                R.plurals.skipped, state.skipped(), state.skipped());
            case FAILED -> failure(context, state.failure());
        };
    }

    /** The size of a first run, once known. */
    private static String firstRun(Context context, Indexing state) {
        return state.left() <= 0 ? ""
            : context.getResources().getQuantityString(R.plurals.photos, state.left(), state.left()) + "\n";
    }

    /** The label of the button below it. */
    static int button(Home.Action action) {
        return switch (action) {
            case NONE, INDEX -> R.string.index_now;
            case ASK_FOR_ACCESS -> R.string.allow;
            case SETTINGS -> R.string.settings;
            case TRY_AGAIN -> R.string.try_again;
        };
    }
}
