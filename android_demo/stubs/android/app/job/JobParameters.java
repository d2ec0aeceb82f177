package android.app.job;

public class JobParameters {
    public native int getJobId();
}
