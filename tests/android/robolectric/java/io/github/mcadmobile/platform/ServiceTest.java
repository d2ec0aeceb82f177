package io.github.mcadmobile.platform;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.robolectric.Shadows.shadowOf;

import android.app.Application;
import android.app.Notification;
import android.app.NotificationManager;
import android.content.Intent;
import android.os.Handler;
import android.os.Looper;
import android.os.PowerManager;
import io.github.mcadmobile.robolectric.AppTestCase;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.Before;
import org.junit.Test;
import org.robolectric.Robolectric;
import org.robolectric.android.controller.ServiceController;
import org.robolectric.annotation.Config;
import org.robolectric.shadows.ShadowPowerManager;
import org.robolectric.shadows.ShadowSystemClock;
import org.robolectric.util.ReflectionHelpers;

/** What Android does to a service while its run is on. */
public final class ServiceTest extends AppTestCase {
    private static final String[] PHOTOS = {"astronaut.png", "chelsea.png", "china.jpg", "coffee.png", "flower.jpg"};

    private final Handler screen = new Handler(Looper.getMainLooper());
    private ServiceController<IndexService> service;

    @Before
    public void photographs() {
        allowPhotos();
        for (String name : PHOTOS) {
            take(name);
        }
    }

    /** Do something on the run's thread, after its first photo. */
    private static void afterOnePhoto(Runnable task) {
        AtomicBoolean done = new AtomicBoolean();
        search().addListener(() -> {
            if (search().indexing().done() == 1 && done.compareAndSet(false, true)) {
                task.run();
            }
        });
    }

    private void indexNow() {
        MediaSearch.indexNow(app());
        service = startService();
    }

    @Test
    @Config(minSdk = 35)
    public void aServiceWhoseHoursAreUsedUpEndsAndKeepsWhatItHas() throws IOException {
        afterOnePhoto(() -> screen.post(() -> service.get().onTimeout(1, 1)));
        indexNow();
        waitFor("the end of the run", () -> shadowOf(service.get()).isStoppedBySelf() && !search().isIndexing());
        assertTrue(shadowOf(service.get()).isForegroundStopped());
        service.destroy();
        int kept = search().photos();
        assertTrue(kept + " photos", kept >= 1 && kept < PHOTOS.length);
    }

    @Test
    public void theNotificationFollowsTheRunWithoutASound() {
        NotificationManager notifications = app().getSystemService(NotificationManager.class);
        Set<String> shown = ConcurrentHashMap.newKeySet();
        indexNow();
        Notification first = shadowOf(service.get()).getLastForegroundNotification();
        assertEquals(NotificationManager.IMPORTANCE_LOW,
            notifications.getNotificationChannel(first.getChannelId()).getImportance());
        int id = shadowOf(service.get()).getLastForegroundNotificationId();
        search().addListener(() -> {
            Notification now = shadowOf(notifications).getNotification(id);
            if (now != null) {
                shown.add(now.extras.getInt(Notification.EXTRA_PROGRESS) + "/"
                    + now.extras.getInt(Notification.EXTRA_PROGRESS_MAX) + " "
                    + now.extras.getString(Notification.EXTRA_TEXT).lines().findFirst().get());
            }
            ShadowSystemClock.advanceBy(Duration.ofSeconds(1));
        });
        waitFor("the end of the run", () -> shadowOf(service.get()).isStoppedBySelf());
        assertTrue(shown.toString(), shown.contains("3/5 3 of 5 items"));
    }

    @Test
    public void aServiceWithoutProgressLetsThePhoneSleep() {
        service = Robolectric.buildService(IndexService.class).create();
        assertTrue(ShadowPowerManager.getLatestWakeLock().isHeld());
        ShadowSystemClock.advanceBy(Duration.ofMinutes(11));
        assertFalse(ShadowPowerManager.getLatestWakeLock().isHeld());
        service.destroy();
    }

    @Test
    public void aServiceThatIsDestroyedEndsItsRunAndGivesTheWakeLockBack() throws IOException {
        AtomicBoolean destroyed = new AtomicBoolean();
        afterOnePhoto(() -> screen.post(() -> {
            service.destroy();
            destroyed.set(true);
        }));
        indexNow();
        PowerManager.WakeLock held = ShadowPowerManager.getLatestWakeLock();
        assertTrue(held.isHeld());
        waitFor("the end of the run", () -> destroyed.get() && !search().isIndexing());
        assertFalse(held.isHeld());
        int kept = search().photos();
        assertTrue(kept + " photos", kept >= 1 && kept < PHOTOS.length);
    }

    @Test
    @Config(application = Application.class)
    public void anAppThatWordsNoNotificationShowsWhatGoesOn() {
        indexNow();
        Notification notification = shadowOf(service.get()).getLastForegroundNotification();
        String text = notification.extras.getString(Notification.EXTRA_TEXT);
        assertTrue(text, text.startsWith("Indexing photos"));
    }

    @Test
    public void aServiceThatIsDestroyedShowsNothingMore() {
        List<Runnable> listeners = ReflectionHelpers.getField(ReflectionHelpers.getField(search(), "indexer"), "listeners");
        service = Robolectric.buildService(IndexService.class).create();
        assertEquals(1, listeners.size());
        service.destroy();
        assertEquals(0, listeners.size());
        assertTrue(shadowOf(service.get()).isForegroundStopped());
        assertTrue(shadowOf(service.get()).getNotificationShouldRemoved());
    }

    @Test
    public void aServiceThatIsDestroyedLeavesTheRunOfAJobAlone() throws IOException {
        service = Robolectric.buildService(IndexService.class).create();
        afterOnePhoto(() -> service.destroy());
        index();
        assertEquals(PHOTOS.length, search().photos());
    }

    @Test
    public void aSecondStartSeesWhatTheFirstCouldNot() throws IOException {
        afterOnePhoto(() -> {
            take("rocket.jpg");
            screen.post(() -> service.withIntent(new Intent(app(), IndexService.class)).startCommand(0, 2));
        });
        indexNow();
        waitFor("the end of both", () -> shadowOf(service.get()).isStoppedBySelf());
        assertEquals(2, shadowOf(service.get()).getStopSelfResultId());
        service.destroy();
        assertEquals(PHOTOS.length + 1, search().photos());
    }
}
