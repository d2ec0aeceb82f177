package io.github.mcadmobile.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.Dialog;
import android.app.DialogFragment;
import android.os.Bundle;
import android.view.LayoutInflater;
import android.view.View;
import android.widget.EditText;

/** Turns places on, which needs another permission, or asks for the place to search. */
@SuppressWarnings("deprecation") // its replacement is not part of Android
public final class PlaceDialog extends DialogFragment {
    /** A screen that shows the dialog. */
    interface Screen {
        boolean hasPlaces();

        void turnPlacesOn();

        void searchPlace(String place);
    }

    @Override
    public Dialog onCreateDialog(Bundle saved) {
        Activity activity = getActivity();
        Screen screen = (Screen) activity;
        AlertDialog.Builder dialog = new AlertDialog.Builder(activity).setTitle(R.string.place)
            .setNegativeButton(android.R.string.cancel, null);
        if (!screen.hasPlaces()) {
            return dialog.setMessage(R.string.places_off)
                .setPositiveButton(R.string.places_on, (any, which) -> screen.turnPlacesOn()).create();
        }
        View view = LayoutInflater.from(activity).inflate(R.layout.place, null);
        EditText place = view.findViewById(R.id.place_name);
        return dialog.setView(view).setPositiveButton(android.R.string.ok,
            (any, which) -> screen.searchPlace(place.getText().toString().trim())).create();
    }
}
