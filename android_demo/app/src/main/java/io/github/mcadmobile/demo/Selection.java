package io.github.mcadmobile.demo;

import android.app.Activity;
import android.view.ActionMode;
import android.view.Menu;
import android.view.MenuItem;
import android.widget.AbsListView;
import android.widget.GridView;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;

/** Photos selected by long press, to be shared or deleted together. */
record Selection(Activity screen, GridView grid, IntFunction<String> path) implements AbsListView.MultiChoiceModeListener {
    void begin() {
        grid.setChoiceMode(AbsListView.CHOICE_MODE_MULTIPLE_MODAL);
        grid.setMultiChoiceModeListener(this);
    }

    private List<String> paths() {
        List<String> chosen = new ArrayList<>();
        for (int i = 0; i < grid.getCount(); i++) {
            if (grid.isItemChecked(i)) {
                chosen.add(path.apply(i));
            }
        }
        return chosen;
    }

    @Override
    public boolean onCreateActionMode(ActionMode mode, Menu menu) {
        mode.getMenuInflater().inflate(R.menu.selected, menu);
        menu.findItem(R.id.delete).setVisible(PhotoActions.MAY_CHANGE);
        count(mode); // after a turn, photos are selected already
        return true;
    }

    @Override
    public void onItemCheckedStateChanged(ActionMode mode, int position, long id, boolean checked) {
        count(mode);
    }

    private void count(ActionMode mode) {
        int photos = grid.getCheckedItemCount();
        mode.setTitle(screen.getResources().getQuantityString(R.plurals.photos, photos, photos));
    }

    @Override
    public boolean onActionItemClicked(ActionMode mode, MenuItem item) {
        if (item.getItemId() == R.id.share) {
            PhotoActions.share(screen, paths());
        } else if (item.getItemId() == R.id.delete) {
            PhotoActions.trash(screen, paths());
        }
        mode.finish();
        return true;
    }

    @Override
    public boolean onPrepareActionMode(ActionMode mode, Menu menu) {
        return false;
    }

    @Override
    public void onDestroyActionMode(ActionMode mode) {}
}
