package android.app;

public class DialogFragment extends Fragment {
    public DialogFragment() {}
    public native Dialog onCreateDialog(android.os.Bundle saved);
    public native Dialog getDialog();
    public native void show(FragmentManager manager, String tag);
}
