package android.content;

public class IntentSender {
    public static class SendIntentException extends android.util.AndroidException {
        private static final long serialVersionUID = 1L;
    }
}
