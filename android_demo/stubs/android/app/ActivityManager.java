package android.app;

public class ActivityManager {
    public native java.util.List<ApplicationExitInfo> getHistoricalProcessExitReasons(String name, int process, int most);
}
