package android.provider;

import mcad.stubs.Unset;

public class MediaStore {
    public static class Images {
        public static class Media {
            public static final android.net.Uri EXTERNAL_CONTENT_URI = Unset.object();
            public static final String _ID = Unset.object();
            public static final String DATE_MODIFIED = Unset.object();
            public static final String SIZE = Unset.object();
            public static final String DISPLAY_NAME = Unset.object();
        }
    }
}
