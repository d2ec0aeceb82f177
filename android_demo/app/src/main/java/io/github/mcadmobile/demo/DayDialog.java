package io.github.mcadmobile.demo;

import android.app.Activity;
import android.app.DatePickerDialog;
import android.app.Dialog;
import android.app.DialogFragment;
import android.os.Bundle;
import java.time.LocalDate;

/** Asks for the first day of a period, then for the last. */
@SuppressWarnings("deprecation") // its replacement is not part of Android
public final class DayDialog extends DialogFragment {
    /** A screen that shows the dialog. */
    interface Screen {
        void searchDays(LocalDate first, LocalDate last);
    }

    private static final String FIRST = "first";
    private static final int MONTH = 29;

    /** {@code first} is null to ask for the first day. */
    static void show(Activity screen, LocalDate first) {
        Bundle arguments = new Bundle();
        if (first != null) {
            arguments.putLong(FIRST, first.toEpochDay());
        }
        DayDialog dialog = new DayDialog();
        dialog.setArguments(arguments);
        dialog.show(screen.getFragmentManager(), FIRST);
    }

    @Override
    public Dialog onCreateDialog(Bundle saved) {
        long day = getArguments().getLong(FIRST, Long.MIN_VALUE);
        LocalDate first = day == Long.MIN_VALUE ? null : LocalDate.ofEpochDay(day);
        LocalDate proposed = first == null ? LocalDate.now().minusDays(MONTH) : LocalDate.now();
        Activity screen = getActivity();
        // Months count from 0.
        DatePickerDialog dialog = new DatePickerDialog(screen,
            (picker, year, month, date) -> chosen(screen, first, LocalDate.of(year, month + 1, date)),
            proposed.getYear(), proposed.getMonthValue() - 1, proposed.getDayOfMonth());
        // The dialog would not show a title.
        dialog.setMessage(screen.getText(first == null ? R.string.first_day : R.string.last_day));
        return dialog;
    }

    private static void chosen(Activity screen, LocalDate first, LocalDate day) {
        if (first == null) {
            show(screen, day);
        } else {
            ((Screen) screen).searchDays(first, day.isBefore(first) ? first : day);
        }
    }
}
