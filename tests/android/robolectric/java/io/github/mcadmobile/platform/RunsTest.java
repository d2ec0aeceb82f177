package io.github.mcadmobile.platform;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNotSame;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertSame;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.ActivityManager;
import android.app.ApplicationExitInfo;
import android.app.Notification;
import android.app.PendingIntent;
import android.app.Service;
import android.app.job.JobInfo;
import android.app.job.JobParameters;
import android.app.job.JobScheduler;
import android.content.BroadcastReceiver;
import android.content.ComponentName;
import android.content.Context;
import android.content.ContextWrapper;
import android.content.Intent;
import android.os.BatteryManager;
import android.os.Build;
import android.os.PowerManager;
import android.os.Process;
import android.provider.MediaStore;
import io.github.mcadmobile.engine.base.Processes;
import io.github.mcadmobile.gallery.PhotoSearch;
import io.github.mcadmobile.gallery.Waiting;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.Stream;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.Robolectric;
import org.robolectric.android.controller.ServiceController;
import org.robolectric.annotation.Config;
import org.robolectric.shadow.api.Shadow;
import org.robolectric.shadows.ShadowActivityManager;
import org.robolectric.shadows.ShadowBuild;
import org.robolectric.shadows.ShadowPowerManager;
import org.robolectric.shadows.ShadowProcess;
import org.robolectric.shadows.ShadowSystemClock;
import org.robolectric.util.ReflectionHelpers;

/** Runs in service and jobs: when they begin, what ends them, and what becomes of the rest. */
public final class RunsTest extends AppTestCase {
    private static final int NIGHTLY = 0x6d636101;
    private static final int SOON = 0x6d636102;
    private static final int CHANGES = 0x6d636103;
    private static final int GONE = 4711;
    private static final long UPDATED_MS = 1_700_000_000_000L;
    private static final String[] PHOTOS = {"astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg"};

    private final AtomicInteger nice = new AtomicInteger();

    @Before
    public void photographs() {
        allowPhotos();
        for (String name : PHOTOS) {
            take(name);
        }
        search().addListener(() -> nice.set(Process.getThreadPriority(Process.myTid())));
        shadowOf(app().getSystemService(BatteryManager.class)).setIsCharging(false);
    }

    private ServiceController<IndexService> indexNow() {
        MediaSearch.indexNow(app());
        return startService();
    }

    private static void awaitEnd(ServiceController<IndexService> service) {
        waitFor("the end of the service", () -> shadowOf(service.get()).isStoppedBySelf());
        service.destroy();
    }

    /** Do something on the run's thread, after its first photo. */
    private static void afterOnePhoto(Runnable task) {
        AtomicInteger times = new AtomicInteger();
        search().addListener(() -> {
            if (search().indexing().done() == 1 && times.getAndIncrement() == 0) {
                task.run();
            }
        });
    }

    private static JobInfo job(int id) {
        return app().getSystemService(JobScheduler.class).getPendingJob(id);
    }

    /** Android starts a job; it has ended when this returns. */
    private IndexJob runJob(int id) {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        job.onStartJob(parameters(id));
        waitFor("the end of the job", () -> shadowOf(job).getIsJobFinished());
        return job;
    }

    /** On a run's thread: a job comes, and this returns once the job waits or has ended. Returns whether it has ended. */
    private static boolean endsDuringARun(IndexJob job, JobParameters parameters) {
        MediaSearch.waiting(app()); // reads choices, for which the job would wait otherwise
        job.onStartJob(parameters);
        for (Thread thread : Thread.getAllStackTraces().keySet()) {
            while (thread.getName().equals("index-job") && thread.isAlive()
                    && thread.getState() != Thread.State.WAITING) {
                Thread.onSpinWait();
            }
        }
        return shadowOf(job).getIsJobFinished();
    }

    private static JobParameters parameters(int id) {
        JobParameters parameters = Shadow.newInstanceOf(JobParameters.class);
        ReflectionHelpers.setField(parameters, "jobId", id);
        return parameters;
    }

    private static int photosIndexed() {
        try {
            return search().photos();
        } catch (IOException error) {
            throw new AssertionError(error);
        }
    }

    @Test
    public void aRunThatTheUserAskedForIsNotOfTheBackground() {
        awaitEnd(indexNow());
        assertEquals(PHOTOS.length, photosIndexed());
        assertTrue("nice " + nice, nice.get() > 0 && nice.get() < Process.THREAD_PRIORITY_BACKGROUND);
    }

    @Test
    public void aJobsRunIsOfTheBackground() {
        runJob(SOON);
        assertEquals(PHOTOS.length, photosIndexed());
        assertEquals(Process.THREAD_PRIORITY_BACKGROUND, nice.get());
    }

    @Test
    public void aPausedRunGoesOnInAnHour() {
        afterOnePhoto(() -> MediaSearch.pause(app()));
        awaitEnd(indexNow());
        assertTrue(photosIndexed() < PHOTOS.length);
        assertEquals(Waiting.PAUSED, MediaSearch.waiting(app()));
        long ms = job(SOON).getMinLatencyMillis();
        assertTrue(ms + " ms", ms > TimeUnit.MINUTES.toMillis(59) && ms <= TimeUnit.HOURS.toMillis(1));
        assertFalse(shadowOf(runJob(CHANGES)).getIsRescheduleNeeded());
        assertTrue("a job went on behind the user's back", photosIndexed() < PHOTOS.length);
        awaitEnd(indexNow());
        assertEquals(PHOTOS.length, photosIndexed());
        assertEquals(Waiting.NO, MediaSearch.waiting(app()));
    }

    @Test
    public void theNotificationStopsARunForGood() {
        ServiceController<IndexService> service = Robolectric.buildService(IndexService.class,
            new Intent(app(), IndexService.class)).create();
        afterOnePhoto(() -> press(service, 1));
        service.startCommand(0, 1);
        awaitEnd(service);
        waitFor("the stop", () -> MediaSearch.waiting(app()) == Waiting.STOPPED);
        waitFor("no job", () -> job(SOON) == null);
        assertTrue(photosIndexed() < PHOTOS.length);
        for (int id : new int[] {SOON, CHANGES, NIGHTLY}) {
            runJob(id);
        }
        assertTrue("a job went on behind the user's back", photosIndexed() < PHOTOS.length);
    }

    @Test
    public void theNotificationPauses() {
        Intent pause = new Intent(app(), IndexService.class).setAction(IndexService.PAUSE);
        ServiceController<IndexService> service = Robolectric.buildService(IndexService.class, pause).create();
        assertEquals(Service.START_NOT_STICKY, service.get().onStartCommand(pause, 0, 1));
        awaitEnd(service);
        assertEquals("a start that Android has not delivered yet goes on", 1, shadowOf(service.get()).getStopSelfId());
        waitFor("the pause", () -> MediaSearch.waiting(app()) == Waiting.PAUSED);
    }

    /** Press a button of the notification; Android gives its intent to the service. */
    private static void press(ServiceController<IndexService> service, int button) {
        Notification notification = shadowOf(service.get()).getLastForegroundNotification();
        PendingIntent intent = notification.actions[button].actionIntent;
        service.get().onStartCommand(shadowOf(intent).getSavedIntent(), 0, 2);
    }

    @Test
    public void aRunEndsWhenTheCableGoesAndGoesOnWithIt() {
        var battery = shadowOf(app().getSystemService(BatteryManager.class));
        battery.setIsCharging(true);
        MediaSearch.onlyWhileCharging(app(), true);
        afterOnePhoto(() -> battery.setIsCharging(false));
        awaitEnd(indexNow());
        assertTrue(photosIndexed() < PHOTOS.length);
        assertEquals(Waiting.CHARGER, MediaSearch.waiting(app()));
        assertTrue(job(SOON).isRequireCharging());
        battery.setIsCharging(true);
        runJob(SOON);
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void aUserWhoEndsTheAppInARunHasStoppedIt() {
        ended(ApplicationExitInfo.REASON_USER_REQUESTED, UPDATED_MS + TimeUnit.MINUTES.toMillis(2));
        runJob(SOON);
        assertEquals(0, photosIndexed());
        assertEquals(Waiting.STOPPED, MediaSearch.waiting(app()));
    }

    /** Later versions report another reason. */
    @Test
    @Config(minSdk = Build.VERSION_CODES.R, maxSdk = Build.VERSION_CODES.TIRAMISU)
    public void aRunThatAnUpdateOfTheAppEndedGoesOn() {
        ended(ApplicationExitInfo.REASON_USER_REQUESTED, UPDATED_MS - TimeUnit.SECONDS.toMillis(5));
        runJob(SOON);
        assertEquals(PHOTOS.length, photosIndexed());
        assertEquals(Waiting.NO, MediaSearch.waiting(app()));
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void aRunThatCrashedGoesOn() {
        ended(ApplicationExitInfo.REASON_CRASH_NATIVE, UPDATED_MS);
        runJob(SOON);
        assertEquals(PHOTOS.length, photosIndexed());
    }

    /** The process before this one ended during a run. */
    private static void ended(int reason, long ms) {
        app().getSharedPreferences("photo-search", Context.MODE_PRIVATE).edit().putInt("runs-in-process", GONE).commit();
        shadowOf(app().getPackageManager()).getInternalMutablePackageInfo(app().getPackageName()).lastUpdateTime =
            UPDATED_MS;
        shadowOf(app().getSystemService(ActivityManager.class)).addApplicationExitInfo(
            ShadowActivityManager.ApplicationExitInfoBuilder.newBuilder().setProcessName(app().getPackageName())
                .setPid(GONE).setReason(reason).setTimestamp(ms).build());
    }

    private static void exits(int process, int reason) {
        shadowOf(app().getSystemService(ActivityManager.class)).addApplicationExitInfo(
            app().getPackageName(), process, reason, 0);
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void deathsAreBlamedByWhatAndroidTellsOfThem() {
        int[] reasons = {ApplicationExitInfo.REASON_CRASH, ApplicationExitInfo.REASON_CRASH_NATIVE,
            ApplicationExitInfo.REASON_ANR, ApplicationExitInfo.REASON_LOW_MEMORY};
        AndroidDevice device = new AndroidDevice(app());
        for (int reason : reasons) {
            exits(100 + reason, reason);
            assertEquals(Processes.End.FAULT, device.end(100 + reason));
        }
        exits(200, ApplicationExitInfo.REASON_PERMISSION_CHANGE);
        assertEquals(Processes.End.OTHER, device.end(200));
        exits(201, ApplicationExitInfo.REASON_SIGNALED);
        assertEquals(Processes.End.UNKNOWN, device.end(201));
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.R)
    public void theDeathOfAnotherProcessBlamesNobody() {
        exits(GONE, ApplicationExitInfo.REASON_CRASH_NATIVE);
        AndroidDevice device = new AndroidDevice(app());
        assertEquals("of a process that nobody noted", Processes.End.UNKNOWN, device.end(0));
        assertEquals("of a process that Android has forgotten", Processes.End.UNKNOWN, device.end(GONE + 1));
        assertFalse(device.isEndedByUser(GONE));
    }

    @Test
    @Config(maxSdk = Build.VERSION_CODES.Q)
    public void anAndroidThatTellsNothingBlamesNobody() {
        assertEquals(Processes.End.UNKNOWN, new AndroidDevice(app()).end(100));
    }

    @Test
    public void aRefusedStartDoesNotEndARunThatIsOn() {
        ServiceController<IndexService> service = Robolectric.buildService(IndexService.class,
            new Intent(app(), IndexService.class)).create();
        afterOnePhoto(() -> {
            shadowOf(service.get()).setThrowInStartForeground(new IllegalStateException("the day's hours are used up"));
            service.get().onStartCommand(new Intent(), 0, 2);
            assertFalse(shadowOf(service.get()).isStoppedBySelf());
        });
        service.startCommand(0, 1);
        awaitEnd(service);
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    @Config(minSdk = Build.VERSION_CODES.Q)
    public void aRunThatRestsInTheHeatLetsThePhoneSleep() {
        ShadowPowerManager power = shadowOf(app().getSystemService(PowerManager.class));
        afterOnePhoto(() -> power.setCurrentThermalStatus(PowerManager.THERMAL_STATUS_SEVERE));
        ServiceController<IndexService> service = indexNow();
        waitFor("the rest", () -> search().indexing().resting());
        waitFor("sleep", () -> !ShadowPowerManager.getLatestWakeLock().isHeld());
        power.setCurrentThermalStatus(PowerManager.THERMAL_STATUS_NONE);
        waitFor("work", () -> ShadowPowerManager.getLatestWakeLock().isHeld());
        awaitEnd(service);
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    public void theCpuStaysAwakeHoweverLongARunTakes() {
        AtomicBoolean awake = new AtomicBoolean();
        search().addListener(() -> {
            if (search().indexing().done() == PHOTOS.length - 1) {
                awake.set(ShadowPowerManager.getLatestWakeLock().isHeld());
            }
            ShadowSystemClock.advanceBy(Duration.ofHours(3));
        });
        awaitEnd(indexNow());
        assertTrue(awake.get());
    }

    @Test
    public void jobsSpareTheBattery() {
        MediaSearch.keepUpToDate(app());
        IndexJob.scheduleSoon(app(), 0);
        for (int id : new int[] {NIGHTLY, SOON, CHANGES}) {
            assertTrue(job(id).isRequireBatteryNotLow());
        }
        shadowOf(app().getSystemService(PowerManager.class)).setIsPowerSaveMode(true);
        for (int id : new int[] {SOON, CHANGES}) {
            assertTrue("new photos wait for the night", shadowOf(runJob(id)).getIsRescheduleNeeded());
        }
        assertEquals(0, photosIndexed());
        assertEquals(Waiting.POWER_SAVER, MediaSearch.waiting(app()));
        awaitEnd(indexNow()); // the user is asked for nothing
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    public void photosAreIndexedAtNightAndSoonAfterTheyCome() {
        MediaSearch.keepUpToDate(app());
        JobInfo nightly = job(NIGHTLY);
        assertEquals(TimeUnit.HOURS.toMillis(12), nightly.getIntervalMillis());
        assertTrue(nightly.isPeriodic() && nightly.isPersisted());
        assertTrue(nightly.isRequireCharging() && nightly.isRequireDeviceIdle());
        assertEquals(TimeUnit.SECONDS.toMillis(10), job(CHANGES).getTriggerContentUpdateDelay());
        assertEquals(TimeUnit.MINUTES.toMillis(5), job(CHANGES).getTriggerContentMaxDelay());
        MediaSearch.keepUpToDate(app());
        assertSame("its twelve hours begin anew", nightly, job(NIGHTLY));
        app().getSystemService(JobScheduler.class).cancel(CHANGES);
        runJob(NIGHTLY);
        assertNotNull(job(CHANGES));
    }

    @Test
    public void waitingJobsFollowTheChoiceOfACharger() {
        MediaSearch.keepUpToDate(app());
        IndexJob.scheduleSoon(app(), 0);
        assertTrue(job(SOON).isPersisted());
        for (boolean only : new boolean[] {true, false}) {
            MediaSearch.onlyWhileCharging(app(), only);
            assertEquals(only, job(SOON).isRequireCharging());
            assertEquals(only, job(CHANGES).isRequireCharging());
        }
    }

    @Test
    public void theChoiceOfAChargerAloneFollowsNoPhotos() {
        MediaSearch.onlyWhileCharging(app(), true);
        assertNull(job(CHANGES));
        assertNull(job(SOON));
    }

    @Test
    public void aJobThatAndroidStopsRunsAgainAndGoesOn() {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        AtomicBoolean again = new AtomicBoolean();
        afterOnePhoto(() -> again.set(job.onStopJob(parameters(SOON))));
        job.onStartJob(parameters(SOON));
        waitFor("the end of the job", () -> shadowOf(job).getIsJobFinished());
        assertTrue(photosIndexed() < PHOTOS.length);
        assertTrue(again.get() && shadowOf(job).getIsRescheduleNeeded());
        job.onStartJob(parameters(SOON));
        waitFor("the rest", () -> photosIndexed() == PHOTOS.length);
    }

    @Test
    public void aJobThatComesDuringARunLastsUntilItsEnd() {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        JobParameters parameters = parameters(SOON);
        AtomicBoolean early = new AtomicBoolean();
        afterOnePhoto(() -> early.set(endsDuringARun(job, parameters)));
        search().indexLater();
        waitFor("the end of the job", () -> shadowOf(job).getIsJobFinished());
        assertFalse("Android may freeze the process during the run", early.get());
        assertFalse(shadowOf(job).getIsRescheduleNeeded());
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    public void aJobThatCameDuringARunRunsAgainForWhatTheRunLeft() {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        JobParameters parameters = parameters(SOON);
        afterOnePhoto(() -> {
            endsDuringARun(job, parameters);
            search().stopIndexing();
        });
        search().indexLater();
        waitFor("the end of the job", () -> shadowOf(job).getIsJobFinished());
        assertTrue(shadowOf(job).getIsRescheduleNeeded());
        assertTrue(photosIndexed() < PHOTOS.length);
    }

    @Test
    public void aJobThatAndroidStopsWaitsForNoRunOfAnother() {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        JobParameters parameters = parameters(SOON);
        AtomicBoolean waited = new AtomicBoolean();
        AtomicBoolean ended = new AtomicBoolean();
        afterOnePhoto(() -> {
            waited.set(!endsDuringARun(job, parameters));
            job.onStopJob(parameters);
            long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (!shadowOf(job).getIsJobFinished() && System.nanoTime() < end) {
                Thread.onSpinWait();
            }
            ended.set(shadowOf(job).getIsJobFinished());
        });
        search().indexLater();
        waitFor("the end of the run", () -> !search().isIndexing() && photosIndexed() == PHOTOS.length);
        assertTrue(waited.get() && ended.get());
        assertTrue(shadowOf(job).getIsRescheduleNeeded());
    }

    @Test
    public void aJobBesideTheServiceIsPutOff() {
        IndexJob job = Robolectric.buildService(IndexJob.class).create().get();
        AtomicLong ms = new AtomicLong();
        afterOnePhoto(() -> {
            app().getSystemService(JobScheduler.class).cancel(SOON); // it begins
            ms.set(endsDuringARun(job, parameters(SOON)) ? job(SOON).getMinLatencyMillis() : -1);
        });
        awaitEnd(indexNow());
        assertEquals(TimeUnit.MINUTES.toMillis(15), ms.get());
        assertFalse(shadowOf(job).getIsRescheduleNeeded());
    }

    @Test
    public void aJobThatFailedRunsAgain() throws IOException {
        index();
        photos.fail(new IllegalStateException("the provider died"));
        for (int id : new int[] {SOON, CHANGES, NIGHTLY}) {
            assertTrue(shadowOf(runJob(id)).getIsRescheduleNeeded());
        }
    }

    @Test
    public void aJobIsThereInCaseARunDoesNotComeToItsEnd() {
        AtomicLong ms = new AtomicLong();
        afterOnePhoto(() -> ms.set(job(SOON).getMinLatencyMillis()));
        awaitEnd(indexNow());
        assertEquals(TimeUnit.MINUTES.toMillis(15), ms.get());
        assertNull(job(SOON));
        photos.fail(new IllegalStateException("the provider died"));
        awaitEnd(indexNow());
        assertEquals(TimeUnit.MINUTES.toMillis(15), job(SOON).getMinLatencyMillis());
    }

    @Test
    public void theProcessOfARunIsKnownUntilItsEnd() {
        ShadowProcess.setPid(GONE + 1);
        allowPhotos(); // permissions are a process's
        AtomicInteger during = new AtomicInteger();
        afterOnePhoto(() -> during.set(processOfARun()));
        awaitEnd(indexNow());
        assertEquals(GONE + 1, during.get());
        assertEquals(0, processOfARun());
    }

    private static int processOfARun() {
        return app().getSharedPreferences("photo-search", Context.MODE_PRIVATE).getInt("runs-in-process", 0);
    }

    @Test
    public void aServiceThatMayNotRunLeavesItToAJob() {
        ServiceController<IndexService> service = Robolectric.buildService(IndexService.class,
            new Intent(app(), IndexService.class)).create();
        shadowOf(service.get()).setThrowInStartForeground(new IllegalStateException("the day's hours are used up"));
        MediaSearch.stop(app());
        service.startCommand(0, 1);
        awaitEnd(service);
        waitFor("the job", () -> job(SOON) != null);
        assertEquals(0, photosIndexed());
        assertEquals("the user asked to go on", Waiting.NO, MediaSearch.waiting(app()));
    }

    @Test
    public void whereNoServiceMayStartAJobIndexesAtOnceEvenAfterAPause() {
        MediaSearch.pause(app());
        assertTrue(job(SOON).getMinLatencyMillis() > 0);
        MediaSearch.indexNow(new ContextWrapper(app()) {
            @Override
            public ComponentName startForegroundService(Intent service) {
                throw new IllegalStateException("the app is in the background");
            }
        });
        waitFor("the job", () -> job(SOON).getMinLatencyMillis() == 0);
        runJob(SOON);
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    public void aSearchThatTheAppClosedIsOpenedAnew() throws IOException {
        PhotoSearch closed = search();
        closed.close();
        assertNotSame(closed, search());
        awaitEnd(indexNow());
        assertEquals(PHOTOS.length, photosIndexed());
    }

    @Test
    public void aRungThatDiedIsTriedAgainByAnotherAppOrFirmware() {
        AndroidDevice device = new AndroidDevice(app());
        String before = device.environment();
        shadowOf(app().getPackageManager()).getInternalMutablePackageInfo(app().getPackageName()).lastUpdateTime++;
        String updated = device.environment();
        assertNotEquals(before, updated);
        ShadowBuild.setFingerprint("other/firmware");
        assertNotEquals(updated, device.environment());
    }

    @Test
    public void photosAreDecodedAtThePriorityOfTheRun() throws InterruptedException {
        int before = Process.getThreadPriority(Process.myTid());
        Process.setThreadPriority(7);
        AtomicInteger found = new AtomicInteger();
        Thread decode = new AndroidDevice(app()).threads().newThread(
            () -> found.set(Process.getThreadPriority(Process.myTid())));
        Process.setThreadPriority(before);
        decode.start();
        decode.join();
        assertEquals(7, found.get());
    }

    @Test
    public void photosAreFollowedAgainAfterTheNextStartOfThePhone() {
        Intent boot = new Intent(Intent.ACTION_BOOT_COMPLETED).setPackage(app().getPackageName());
        app().sendBroadcast(boot);
        idle();
        assertNull("an app that never followed them", job(CHANGES));
        MediaSearch.keepUpToDate(app());
        app().getSystemService(JobScheduler.class).cancel(CHANGES); // it is not persisted
        app().sendBroadcast(boot);
        waitFor("the trigger", () -> job(CHANGES) != null);
    }

    /** Android ends the process of a receiver that takes ten seconds. */
    @Test
    public void theStartOfThePhoneIsSaidToBeHandled() {
        AtomicBoolean handled = new AtomicBoolean();
        app().sendOrderedBroadcast(new Intent(Intent.ACTION_BOOT_COMPLETED).setPackage(app().getPackageName()), null,
            new BroadcastReceiver() {
                @Override
                public void onReceive(Context context, Intent intent) {
                    handled.set(true);
                }
            }, null, 0, null, null);
        waitFor("the end of the broadcast", handled::get);
    }

    @Test
    public void aTriggerIsSetAgainWhenItsRunEnds() throws IOException {
        runJob(CHANGES);
        assertEquals("a first run, which nobody asked for", 0, photosIndexed());
        index();
        take("rocket.jpg");
        runJob(CHANGES);
        assertEquals(PHOTOS.length + 1, photosIndexed());
        assertArrayEquals(Stream.of(MediaStore.Images.Media.EXTERNAL_CONTENT_URI, MediaStore.Video.Media.EXTERNAL_CONTENT_URI)
            .map(uri -> new JobInfo.TriggerContentUri(uri, JobInfo.TriggerContentUri.FLAG_NOTIFY_FOR_DESCENDANTS)).toArray(),
            job(CHANGES).getTriggerContentUris());
        assertFalse(app().getSystemService(JobScheduler.class).getAllPendingJobs().stream().anyMatch(
            pending -> pending.getTriggerContentUris() != null && pending.getId() != CHANGES));
    }
}
