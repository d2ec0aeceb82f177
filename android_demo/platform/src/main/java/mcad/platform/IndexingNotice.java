package mcad.platform;

import android.app.Notification;
import mcad.gallery.Indexing;

/** Implemented by an Application to word the notification of {@link IndexService}; by default it shows numbers. */
public interface IndexingNotice {
    void word(Notification.Builder notification, Indexing state);
}
