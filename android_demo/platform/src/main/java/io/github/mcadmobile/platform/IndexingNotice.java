package io.github.mcadmobile.platform;

import android.app.Notification;
import io.github.mcadmobile.gallery.Indexing;

/**
 * Implemented by an Application to word the notification of {@link IndexService}, and to give it buttons. By default it
 * says in English how many photos are indexed, and its button stops the run.
 */
public interface IndexingNotice {
    void word(Notification.Builder notification, Indexing state);
}
