package io.github.mcadmobile.demo;

import android.app.Activity;
import android.app.AlertDialog;
import android.app.Dialog;
import android.app.DialogFragment;
import android.content.DialogInterface;
import android.os.Bundle;
import io.github.mcadmobile.gallery.Album;
import io.github.mcadmobile.gallery.Folders;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;

/** A list of folders to tick, to index or to search. A fragment, so that it survives screen rotation. */
@SuppressWarnings("deprecation") // its replacement is not part of Android
public final class FolderDialog extends DialogFragment {
    /** A screen that shows the dialog. */
    interface Screen {
        void indexFolders(Folders folders);

        void searchFolders(Set<String> folders);
    }

    private static final String ONLY = "only";
    private static final String OTHERS = "others";
    private static final String FOLDERS = "folders";
    private static final String LABELS = "labels";
    private static final String TICKS = "ticks";

    private String[] folders;
    private boolean[] ticks;

    /** Choose folders to index. Main thread only. */
    static void index(Activity screen, List<Album> albums, Folders chosen) {
        Set<String> others = new HashSet<>(chosen.names()); // such as those of a card that is out
        albums.forEach(album -> others.remove(album.folder()));
        Bundle arguments = new Bundle();
        arguments.putBoolean(ONLY, chosen.only());
        arguments.putStringArray(OTHERS, others.toArray(new String[0]));
        show(screen, albums, chosen::takes, arguments);
    }

    /** Choose folders to search. Main thread only. */
    static void search(Activity screen, List<Album> albums) {
        show(screen, albums, folder -> false, new Bundle());
    }

    private static void show(Activity screen, List<Album> albums, Predicate<String> ticked, Bundle arguments) {
        if (screen.isDestroyed() || screen.getFragmentManager().isStateSaved()) {
            return; // the user left while the folders were read
        }
        String[] folders = new String[albums.size()];
        String[] labels = new String[folders.length];
        boolean[] ticks = new boolean[folders.length];
        for (int i = 0; i < folders.length; i++) {
            Album album = albums.get(i);
            folders[i] = album.folder();
            labels[i] = screen.getString(R.string.album, album.name(), album.photos());
            ticks[i] = ticked.test(folders[i]);
        }
        arguments.putStringArray(FOLDERS, folders);
        arguments.putStringArray(LABELS, labels);
        arguments.putBooleanArray(TICKS, ticks);
        FolderDialog dialog = new FolderDialog();
        dialog.setArguments(arguments);
        dialog.show(screen.getFragmentManager(), FOLDERS);
    }

    @Override
    public Dialog onCreateDialog(Bundle saved) {
        folders = getArguments().getStringArray(FOLDERS);
        ticks = (saved == null ? getArguments() : saved).getBooleanArray(TICKS).clone();
        Screen screen = (Screen) getActivity();
        AlertDialog.Builder dialog = new AlertDialog.Builder(getActivity())
            .setMultiChoiceItems(
                getArguments().getStringArray(LABELS), ticks, (any, which, ticked) -> tick(which, ticked))
            .setNegativeButton(android.R.string.cancel, null);
        if (getArguments().containsKey(ONLY)) {
            dialog.setTitle(R.string.folders)
                .setPositiveButton(R.string.and_new_folders, (any, which) -> screen.indexFolders(chosen(false)))
                .setNeutralButton(R.string.only_these, (any, which) -> screen.indexFolders(chosen(true)));
        } else {
            dialog.setTitle(R.string.albums)
                .setPositiveButton(android.R.string.ok, (any, which) -> screen.searchFolders(those(true)));
        }
        return dialog.create();
    }

    @Override
    public void onStart() {
        super.onStart(); // shows the dialog, which then has buttons
        allowOnlyTicked();
    }

    private void tick(int folder, boolean ticked) {
        ticks[folder] = ticked;
        allowOnlyTicked();
    }

    /** Without a tick, nothing would be indexed. */
    private void allowOnlyTicked() {
        ((AlertDialog) getDialog()).getButton(DialogInterface.BUTTON_NEUTRAL).setEnabled(!those(true).isEmpty());
    }

    /** The ticked folders only, or all but those that are not; folders that are not listed stay as they were chosen. */
    private Folders chosen(boolean only) {
        Set<String> names = those(only);
        if (only == getArguments().getBoolean(ONLY, false)) {
            names.addAll(Arrays.asList(getArguments().getStringArray(OTHERS)));
        }
        return new Folders(only, names);
    }

    @Override
    public void onSaveInstanceState(Bundle saved) {
        super.onSaveInstanceState(saved);
        saved.putBooleanArray(TICKS, ticks);
    }

    private Set<String> those(boolean tick) {
        Set<String> found = new HashSet<>();
        for (int i = 0; i < ticks.length; i++) {
            if (ticks[i] == tick) {
                found.add(folders[i]);
            }
        }
        return found;
    }
}
