package android.view.inputmethod;

public class InputMethodManager {
    public native boolean hideSoftInputFromWindow(android.os.IBinder window, int flags);
}
