package android.app;

import io.github.mcadmobile.stubs.Unset;

public class Activity extends android.content.ContextWrapper {
    public static final int RESULT_OK = Unset.number();
    public Activity() {}
    protected native void onCreate(android.os.Bundle saved);
    protected native void onSaveInstanceState(android.os.Bundle saved);
    protected native void onResume();
    protected native void onPause();
    protected native void onDestroy();
    public native boolean onNavigateUp();
    public native FragmentManager getFragmentManager();
    public native boolean onPrepareOptionsMenu(android.view.Menu menu);
    public native boolean onCreateOptionsMenu(android.view.Menu menu);
    public native boolean onOptionsItemSelected(android.view.MenuItem item);
    public native void onRequestPermissionsResult(int request, String[] permissions, int[] answers);
    public final native void requestPermissions(String[] permissions, int request);
    public native boolean shouldShowRequestPermissionRationale(String permission);
    protected native void onActivityResult(int request, int result, android.content.Intent answer);
    public native void startActivityForResult(android.content.Intent intent, int request);
    public native void startActivityForResult(android.content.Intent intent, int request, android.os.Bundle options);
    public native android.view.Window getWindow();
    public native void setContentView(int layout);
    public native void setContentView(android.view.View view);
    public native <T extends android.view.View> T findViewById(int id);
    public native android.view.MenuInflater getMenuInflater();
    public native android.content.Intent getIntent();
    public native ActionBar getActionBar();
    public native void invalidateOptionsMenu();
    public final native void setResult(int result);
    public native void startIntentSenderForResult(
        android.content.IntentSender sender, int request, android.content.Intent fill, int mask, int values, int extra)
        throws android.content.IntentSender.SendIntentException;
    public native void setTitle(CharSequence title);
    public native void setTitle(int title);
    public native void finish();
    public native boolean isDestroyed();
}
