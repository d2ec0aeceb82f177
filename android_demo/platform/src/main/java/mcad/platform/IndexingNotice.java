package mcad.platform;

import android.app.Notification;
import mcad.gallery.Indexing;

/** An app whose Application is one words the notification of {@link IndexService} itself; else it shows numbers. */
public interface IndexingNotice {
    void word(Notification.Builder notification, Indexing state);
}
